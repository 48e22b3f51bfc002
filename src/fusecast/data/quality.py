"""Check the quality of a panel: what to inspect in the data before a model is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fusecast.data.arrays import BoolArray, FloatArray, IntArray
from fusecast.data.frequency import format_duration
from fusecast.data.panel import Panel
from fusecast.data.splits import MIN_PAIRS_FOR_SPACING, Split
from fusecast.errors.base import format_count, list_examples, some_of

OUTLIER_DEVIATIONS = 10.0
"""Robust standard deviations from the median of its series at which a value is an outlier."""
BAD_SHARE = 0.2
"""Share of missing rows or values above which a check is bad."""
SHIFT_IN_IQR = 1.0
"""Interquartile ranges by which the median of the test span may differ from that of training."""
SHOWN_COLUMNS = 6
"""Columns with missing values that are named; the rest is counted."""

Status = Literal["good", "note", "bad"]
Finding = tuple[str, Status]
"""The finding as text, and how serious it is."""


@dataclass(frozen=True, kw_only=True)
class QualityCheck:
    """What was checked in the data, the finding as text, and how serious it is."""

    topic: str
    finding: str
    status: Status = "good"


def check_quality(panel: Panel, splits: Split, lookback: int, horizon: int) -> list[QualityCheck]:
    """Check lengths, gaps, missing values, constant series, outliers and level shifts of a panel."""
    findings = {
        "Length": _check_lengths(panel, lookback, horizon),
        "Gaps in time": _check_gaps(panel),
        "Missing values": _check_missing_values(panel),
    }
    for target in panel.schema.targets:
        suffix = f" of {target}" if len(panel.schema.targets) > 1 else ""
        findings[f"Constant series{suffix}"] = _check_constant_series(panel, target)
        findings[f"Outliers{suffix}"] = _check_outliers(panel, target)
        findings[f"Level{suffix}"] = _check_level(panel, splits, target)
    return [QualityCheck(topic=topic, finding=text, status=status) for topic, (text, status) in findings.items()]


def describe_rows(panel: Panel, gaps: int) -> list[str]:
    """Return what is missing at single steps and at the ends of series, as phrases; `gaps` are steps without a row."""
    facts = []
    if gaps:
        facts.append(f"steps without a row: {gaps:,} ({gaps / (panel.num_rows or 1):.1%})")
    present = np.flatnonzero(panel.lengths > 0)
    last = panel.indptr[1:][present] - 1
    empty = {target: int(np.isnan(panel.reals[target][last]).sum()) for target in panel.schema.targets}
    facts += [f"{target} empty in the last row of {count:,} series" for target, count in empty.items() if count]
    if len(wide := find_wider_steps(panel)):
        names = some_of([panel.ids[s].item() for s in wide.tolist()])
        facts.append(f"rows several steps of {panel.schema.frequency} apart, though forecast at every step: {names}")
    ends = panel.time_grid.advance(panel.start, panel.lengths - 1)[present]
    if len(ends) and ends.min() < ends.max():
        steps = int(panel.time_grid.first_step_at(ends[[ends.argmin()]], ends.max())[0])
        facts.append(f"ends differ by up to {format_count(steps, 'step')}")
    return facts


def find_wider_steps(panel: Panel) -> IntArray:
    """Return the series whose rows all lie several steps apart, such as weekly ones in a table of daily ones."""
    return np.flatnonzero(panel.by_blocks(_has_wider_steps))


def _has_wider_steps(panel: Panel) -> BoolArray:
    rows = np.flatnonzero(panel.has_value)
    series = panel.series_of_row[rows]
    same = np.diff(series) == 0
    steps, series = np.diff(rows)[same], series[1:][same]
    least = np.full(panel.num_series, np.iinfo(np.int64).max)
    np.minimum.at(least, series, steps)
    enough = np.bincount(series, minlength=panel.num_series) >= MIN_PAIRS_FOR_SPACING
    return np.asarray(enough & (least > 1))


def find_outliers(panel: Panel, target: str) -> IntArray:
    """Return the rows whose value lies ten robust standard deviations (1.4826 MAD) or more from its series' median."""
    rows = [np.empty(0, dtype=np.int64)]
    for begin, values in zip(panel.indptr, _iterate_series(panel, target), strict=False):
        present = _drop_missing(values)
        if not len(present):
            continue
        median = np.median(present)
        deviation = 1.4826 * np.median(np.abs(present - median))
        if deviation > 0:
            rows.append(begin + np.flatnonzero(np.abs(values - median) >= OUTLIER_DEVIATIONS * deviation))
    return np.concatenate(rows)


def find_constant_series(panel: Panel, target: str) -> IntArray:
    """Return the numbers of the series whose target never changes, or is always missing."""
    present = map(_drop_missing, _iterate_series(panel, target))
    return np.flatnonzero([not len(values) or values.min() == values.max() for values in present])


def find_shifted_series(panel: Panel, splits: Split, target: str) -> IntArray:
    """Return the numbers of the series whose median in the test span differs by an interquartile range or more."""
    shifted = []
    for s, values in enumerate(_iterate_series(panel, target)):
        train = _drop_missing(values[: int(splits.train_end[s])])
        test = _drop_missing(values[int(splits.valid_end[s]) :])
        if len(train) and len(test):
            low, median, high = np.percentile(train, (25, 50, 75))
            if abs(np.median(test) - median) > SHIFT_IN_IQR * (high - low):
                shifted.append(s)
    return np.asarray(shifted, dtype=np.int64)


def _iterate_series(panel: Panel, target: str) -> Iterator[FloatArray]:
    """Yield the values of each series."""
    for begin, end in zip(panel.indptr[:-1].tolist(), panel.indptr[1:].tolist(), strict=True):
        yield panel.reals[target][begin:end]


def _drop_missing(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]


def _check_lengths(panel: Panel, lookback: int, horizon: int) -> Finding:
    lengths = panel.lengths
    short = int((lengths < lookback + horizon).sum())
    span = f"{lengths.min():,} to {lengths.max():,} steps" if lengths.min() < lengths.max() else f"{lengths[0]:,} steps"
    duration = format_duration(lookback, panel.schema.frequency)
    if not short:
        return f"{span}, all long enough for a lookback of {duration}", "good"
    which = f"{short:,} of {len(lengths):,} series"
    return f"{span}; {which} are shorter than lookback ({duration}) and horizon together", "note"


def _check_gaps(panel: Panel) -> Finding:
    """Count the rows without any value that varies by row: they were not in the table."""
    per_series = panel.by_blocks(
        lambda block: np.bincount(block.series_of_row[~block.has_value], minlength=block.num_series)
    )
    count = int(per_series.sum())
    if not count:
        return "none", "good"
    worst = panel.ids[int(per_series.argmax())].item()
    which = f"{count:,} steps without a row in {np.count_nonzero(per_series):,} series, most in {worst!r}"
    return f"{which}; they are filled as missing", _grade(count / panel.num_rows)


def _check_missing_values(panel: Panel) -> Finding:
    shares = {name: float(np.isnan(values).mean()) for name, values in panel.reals.items()}
    shares |= {name: float((codes < 0).mean()) for name, codes in panel.categories.items()}
    missing = sorted(((share, name) for name, share in shares.items() if share > 0), key=lambda pair: -pair[0])
    if not missing:
        return "none", "good"
    examples = (f"{name} {share:.1%}" for share, name in missing)
    return list_examples(examples, len(missing), SHOWN_COLUMNS), _grade(missing[0][0])


def _check_constant_series(panel: Panel, target: str) -> Finding:
    constant = find_constant_series(panel, target)
    if not len(constant):
        return "none", "good"
    return f"{len(constant):,} of {panel.num_series:,}, such as {panel.ids[constant[0]].item()!r}", "note"


def _check_outliers(panel: Panel, target: str) -> Finding:
    rows, values = find_outliers(panel, target), panel.reals[target]
    if not len(rows):
        return "none", "good"
    largest = rows[int(np.abs(values[rows]).argmax())]
    series = int(np.searchsorted(panel.indptr, largest, side="right")) - 1
    time = panel.times_at([series], [largest - panel.indptr[series]])[0]
    share = len(rows) / panel.num_rows
    finding = (
        f"{len(rows):,} values ({share:.2%}) ten robust standard deviations or more from the median of their "
        f"series; the largest is {values[largest]:,.5g} in {panel.ids[series].item()!r} at {time}"
    )
    return finding, _grade(10 * share)


def _check_level(panel: Panel, splits: Split, target: str) -> Finding:
    shifted = find_shifted_series(panel, splits, target)
    if not len(shifted):
        return "the test span has the level of the training span", "good"
    finding = (
        f"in {len(shifted):,} of {panel.num_series:,} series the test span has another level than the training "
        f"span, such as {panel.ids[shifted[0]].item()!r}"
    )
    return finding, "bad" if len(shifted) / panel.num_series > 0.5 else "note"


def _grade(share: float) -> Status:
    return "bad" if share > BAD_SHARE else "note"
