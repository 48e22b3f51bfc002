"""Data health: what in a panel asks for a look before a model is trusted."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fusecast.data.duration_text import format_duration
from fusecast.data.panel import Panel
from fusecast.data.splits import Split
from fusecast.reporting.report_data import HealthCheck

FAR = 10.0
"""Robust standard deviations from the median of its series at which a value is an outlier."""
MUCH_MISSING = 0.2
SHIFTED = 1.0
"""Interquartile ranges by which the median of the test span may lie off that of training."""


def health_checks(panel: Panel, parts: Split, lookback: int, horizon: int) -> list[HealthCheck]:
    """Look at lengths, gaps, missing values, constant series, outliers and shifts of a panel, in words."""
    return [
        _lengths(panel, lookback, horizon),
        _gaps(panel),
        *_missing(panel),
        *(check for target in panel.schema.targets for check in _target(panel, parts, target)),
    ]


def outliers(panel: Panel, target: str) -> NDArray[np.int64]:
    """Rows whose value lies ten robust standard deviations (1.4826 MAD) or more from the median of its series."""
    values = panel.reals[target]
    found = []
    for begin, end in zip(panel.indptr[:-1], panel.indptr[1:], strict=True):
        own = values[begin:end]
        known = own[~np.isnan(own)]
        if not len(known):
            continue
        middle = np.median(known)
        spread = 1.4826 * np.median(np.abs(known - middle))
        if spread > 0:
            far = np.abs(own - middle) >= FAR * spread
            found.append(begin + np.flatnonzero(far))
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def constant_series(panel: Panel, target: str) -> NDArray[np.int64]:
    """Numbers of the series whose target never changes, or is never there."""
    values = panel.reals[target]
    found = []
    for s, (begin, end) in enumerate(zip(panel.indptr[:-1], panel.indptr[1:], strict=True)):
        known = values[begin:end]
        known = known[~np.isnan(known)]
        if not len(known) or known.min() == known.max():
            found.append(s)
    return np.asarray(found, dtype=np.int64)


def shifted_series(panel: Panel, parts: Split, target: str) -> NDArray[np.int64]:
    """Numbers of the series whose median in the test span lies an interquartile range or more off that of training."""
    values = panel.reals[target]
    found = []
    for s in range(panel.num_series):
        begin, end = int(panel.indptr[s]), int(panel.indptr[s + 1])
        before = values[begin : begin + int(parts.train_end[s])]
        after = values[begin + int(parts.valid_end[s]) : end]
        before, after = before[~np.isnan(before)], after[~np.isnan(after)]
        if len(before) and len(after):
            low, middle, high = np.percentile(before, (25, 50, 75))
            if abs(np.median(after) - middle) > SHIFTED * (high - low):
                found.append(s)
    return np.asarray(found, dtype=np.int64)


def _lengths(panel: Panel, lookback: int, horizon: int) -> HealthCheck:
    lengths, needed = panel.lengths, lookback + horizon
    short = int((lengths < needed).sum())
    span = f"{lengths.min():,} to {lengths.max():,} steps" if lengths.min() < lengths.max() else f"{lengths[0]:,} steps"
    words = format_duration(lookback, panel.schema.frequency)
    found = f"{span}; {short:,} of {len(lengths):,} series are shorter than lookback ({words}) and horizon together"
    if not short:
        found = f"{span}, all long enough for a lookback of {words}"
    return HealthCheck(what="Length", found=found, verdict="note" if short else "good")


def _gaps(panel: Panel) -> HealthCheck:
    """Rows in which nothing that varies by row is present were no rows of the table."""
    empty = np.ones(panel.num_rows, dtype=np.bool_)
    for reals in panel.reals.values():
        empty &= np.isnan(reals)
    for codes in panel.categories.values():
        empty &= codes < 0
    count = int(empty.sum())
    if not count:
        return HealthCheck(what="Gaps in time", found="none")
    series = np.repeat(np.arange(panel.num_series), panel.lengths)[empty]
    worst = int(np.bincount(series).argmax())
    found = (
        f"{count:,} steps without a row in {len(np.unique(series)):,} series, most in {panel.ids[worst].item()!r}; "
        "they are filled as missing"
    )
    return HealthCheck(what="Gaps in time", found=found, verdict=_grade(count / panel.num_rows))


def _missing(panel: Panel) -> list[HealthCheck]:
    shares = {name: float(np.isnan(values).mean()) for name, values in panel.reals.items()}
    shares |= {name: float((codes < 0).mean()) for name, codes in panel.categories.items()}
    some = {name: share for name, share in shares.items() if share > 0}
    if not some:
        return [HealthCheck(what="Missing values", found="none")]
    named = sorted(some.items(), key=lambda pair: -pair[1])
    words = ", ".join(f"{name} {share:.1%}" for name, share in named[:6])
    rest = f" and {len(named) - 6} more columns" if len(named) > 6 else ""
    return [HealthCheck(what="Missing values", found=words + rest, verdict=_grade(named[0][1]))]


def _target(panel: Panel, parts: Split, target: str) -> list[HealthCheck]:
    of = f" of {target}" if len(panel.schema.targets) > 1 else ""
    same, far, moved = constant_series(panel, target), outliers(panel, target), shifted_series(panel, parts, target)
    checks = [HealthCheck(what=f"Constant series{of}", found="none")]
    if len(same):
        found = f"{len(same):,} of {panel.num_series:,}, such as {panel.ids[same[0]].item()!r}"
        checks = [HealthCheck(what=f"Constant series{of}", found=found, verdict="note")]
    if len(far):
        values, series = panel.reals[target], np.searchsorted(panel.indptr, far, side="right") - 1
        top = int(np.abs(values[far]).argmax())
        when = panel.times_of([series[top]], [far[top] - panel.indptr[series[top]]])[0]
        found = (
            f"{len(far):,} values ({len(far) / panel.num_rows:.2%}) ten robust deviations or more from their series' "
            f"median; the largest is {values[far[top]]:,.5g} in {panel.ids[series[top]].item()!r} at {when}"
        )
        checks.append(HealthCheck(what=f"Outliers{of}", found=found, verdict=_grade(10 * len(far) / panel.num_rows)))
    else:
        checks.append(HealthCheck(what=f"Outliers{of}", found="none"))
    if len(moved):
        found = (
            f"in {len(moved):,} of {panel.num_series:,} series the test span lies elsewhere than training, such as "
            f"{panel.ids[moved[0]].item()!r}"
        )
        share = len(moved) / panel.num_series
        checks.append(HealthCheck(what=f"Level{of}", found=found, verdict="bad" if share > 0.5 else "note"))
    else:
        checks.append(HealthCheck(what=f"Level{of}", found="the test span lies where training did"))
    return checks


def _grade(share: float) -> Literal["note", "bad"]:
    return "bad" if share > MUCH_MISSING else "note"
