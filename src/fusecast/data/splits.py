"""Split each series by time into training, validation and test rows, and find the same split in a newer table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fusecast.data.arrays import IntArray
from fusecast.data.issues import Issues
from fusecast.data.panel import Panel
from fusecast.data.parsing import read_times
from fusecast.errors import ConfigError, DataError

SplitSize = float | int | str
"""A fraction of each series' rows, a number of horizons, or the ISO date or time at which a split begins."""
MIN_PAIRS_FOR_SPACING = 3
"""Pairs of neighbouring rows from which their distance is compared with that of the fitted table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Ends of the training and validation rows of each series.

    Rows [0, train_end) are targets of training, [train_end, valid_end) of validation, the rest of the test.
    Lookbacks may reach into the rows before.
    """

    train_end: IntArray  # [S]
    valid_end: IntArray  # [S]

    def __repr__(self) -> str:
        return f"Split({len(self.train_end)} series)"


def split_panel(panel: Panel, horizon: int, *, validation: SplitSize, test: SplitSize) -> Split:
    """Split every series by time, so that no row is a target in two splits.

    A series too short to have its validation and test rows and `horizon` + 1 rows to train on is wholly used for
    training. Dates are stricter: no row at or after the date is trained on, in any series, however short.

    Of `validation` and `test`, a float is a fraction of each series' rows (at least one horizon), an int a number of
    horizons, a text the ISO date or time, or the integer step, at which the split begins. 0 makes the split empty.

    Raise a ConfigError when every series is too short, a split that begins at a date has no series with a whole
    horizon, a date cannot be read, or validation begins after test.
    """
    if horizon < 1:
        raise ConfigError.not_positive("horizon", horizon)
    if (
        isinstance(validation, str)
        and isinstance(test, str)
        and parse_split_start(panel, validation, "validation") >= parse_split_start(panel, test, "test")
    ):
        raise ConfigError.split_order(validation, test)
    lengths = panel.lengths
    valid_end = find_split_start(panel, "test", test, lengths, horizon)
    train_end = find_split_start(panel, "validation", validation, valid_end, horizon)
    short = train_end < horizon + 1
    if short.all():
        s = int(train_end.argmax())
        raise ConfigError.series_too_short(
            validation, test, panel.num_series, int(lengths[s]), int(train_end[s]), horizon + 1
        )
    if not isinstance(validation, str):
        train_end = np.where(short, valid_end if isinstance(test, str) else lengths, train_end)
        valid_end = np.where(short, train_end, valid_end)
    sizes = (("validation", validation, valid_end - train_end), ("test", test, lengths - valid_end))
    for name, size, rows in sizes:
        if size != 0 and rows.max() < horizon:
            raise ConfigError.empty_split(name, size, horizon, format_time_range(panel))
    return Split(train_end=train_end, valid_end=valid_end)


def find_split_start(panel: Panel, name: str, size: SplitSize, end: IntArray, horizon: int) -> IntArray:
    """Return the row of each series at which a split begins that ends before row `end`, both [S]."""
    if isinstance(size, str):
        begin = panel.time_grid.first_step_at(panel.start, parse_split_start(panel, size, name))
    elif isinstance(size, float):
        rows = np.rint(size * panel.lengths).astype(np.int64)
        begin = end - (np.maximum(rows, horizon) if size > 0 else 0)
    else:
        begin = end - min(size * horizon, int(end.max(initial=0)))  # more is no other split, and may exceed int64
    return np.clip(begin, 0, end)


def parse_split_start(panel: Panel, text: str, name: str) -> int:
    """Return the tick of a date or time written as text, or of a step of a panel of integer steps.

    Raise a ConfigError with the `name` of the option when the text is none.
    """
    time_grid = panel.time_grid
    if time_grid.step.is_integer:
        if text.lstrip("-").isdigit():
            return int(text)
        raise ConfigError.bad_date(name, text, "a step such as '500'")
    issues = Issues()
    times = read_times(pl.Series([text]), None, issues)
    if times is None or not times.len() or times.null_count():
        raise ConfigError.bad_date(name, text, "a date such as 2017-01-31")
    zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
    times = times.cast(pl.Datetime("us", zone))
    if zone is not None and time_grid.time_zone is None:
        raise ConfigError.bad_date(name, text, "a date without a zone, as the times of the table have none")
    if zone is None and time_grid.time_zone is not None:
        times = times.dt.replace_time_zone(time_grid.time_zone, ambiguous="earliest")
    return int(time_grid.ticks(times)[0])


def format_time_range(panel: Panel) -> str:
    """Return the first and last time of a panel as text."""
    ends = panel.time_grid.advance(panel.start, panel.lengths - 1)
    first, last = panel.time_grid.times(np.array([panel.start.min(), ends.max()]))
    return f"{first} to {last}"


def record_split(panel: Panel, split: Split) -> dict[str, Any]:
    """Return the ticks at which the rows, validation and test begin, by the names of the series, as plain values.

    `closest` is the least distance in steps between two rows of a series, None where there are no two.
    """
    return {
        "series": list(panel.names),
        "begin": panel.start.tolist(),
        "validation": panel.time_grid.advance(panel.start, split.train_end).tolist(),
        "test": panel.time_grid.advance(panel.start, split.valid_end).tolist(),
        "closest": measure_row_spacing(panel)[0],
    }


def record_last_values(panel: Panel) -> dict[str, Any]:
    """Return the tick after the last row of each series with a value of a target, by the names of the series."""
    ends = panel.time_grid.advance(panel.start, panel.known_lengths)
    return {"series": list(panel.names), "end": ends.tolist()}


def restore_split(panel: Panel, record: dict[str, Any]) -> Split:
    """Split a panel at the times of a recorded split.

    Rows that were targets of training or validation are never test rows. All rows of series that are not in the
    record are test rows.
    """
    train_end, valid_end = (restore_rows(panel, record, name) for name in ("validation", "test"))
    return Split(train_end=train_end, valid_end=valid_end)


def record_ends(panel: Panel) -> dict[str, Any]:
    """Return the ticks of the step after the last row of each series, by the names of the series, as plain values."""
    return {"series": list(panel.names), "end": panel.time_grid.advance(panel.start, panel.lengths).tolist()}


def restore_rows(panel: Panel, record: dict[str, Any], name: str) -> IntArray:
    """Return the row of each series at the recorded tick `name`, [S]; 0 for series that are not in the record."""
    series_in_record = {series: i for i, series in enumerate(record["series"])}
    index = np.array([series_in_record.get(series, -1) for series in panel.names], dtype=np.int64)
    ticks = np.where(index >= 0, np.asarray(record[name], dtype=np.int64)[index], panel.start)
    return np.clip(panel.time_grid.first_step_at(panel.start, ticks), 0, panel.lengths)


def check_row_spacing(panel: Panel, record: dict[str, Any]) -> None:
    """Refuse a table whose rows all lie farther apart than those that the model was fitted on.

    Such a table has steps of another length: its gaps would be filled with missing values, and its forecasts would be
    wrong without notice. The DataError names both distances.
    """
    fitted, (spacing, pairs) = record.get("closest"), measure_row_spacing(panel)
    if fitted is not None and spacing is not None and pairs >= MIN_PAIRS_FOR_SPACING and spacing > fitted:
        raise DataError.wider_spacing(panel.time_grid.frequency, spacing, fitted)


def measure_row_spacing(panel: Panel) -> tuple[int | None, int]:
    """Return the least distance in steps between neighbouring rows of a series that have a value, and their pairs."""
    least, pairs = [], 0
    for _, block in panel.blocks():
        rows = np.flatnonzero(block.has_value)
        steps = np.diff(rows)[np.diff(block.series_of_row[rows]) == 0]
        least += [int(steps.min())] if steps.size else []
        pairs += int(steps.size)
    return min(least, default=None), pairs
