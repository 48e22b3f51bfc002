"""Split each series by time into training, validation and test rows, and find the same split in a grown table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.issues import Issues
from fusecast.data.panel import Panel
from fusecast.data.parsing import read_times
from fusecast.errors import ConfigError, DataError

Share = float | int | str


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How much of the end of each series is kept for validation and for test.

    A float is a fraction of the series' rows (but one horizon at least), an int a number of horizons, a text an ISO
    date or time at which the part begins. 0 keeps nothing.
    """

    validation: Share = 0.15
    test: Share = 0.15

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            value = getattr(self, name)
            if isinstance(value, (date, datetime)):
                object.__setattr__(self, name, value.isoformat())
            elif isinstance(value, bool) or not isinstance(value, (float, int, str)):
                raise ConfigError.out_of_range(name, repr(value), "fractions, whole numbers of horizons or ISO dates")
            elif isinstance(value, float) and not 0.0 <= value < 1.0:
                raise ConfigError.out_of_range(name, value, "[0, 1)")
            elif isinstance(value, int) and value < 0:
                raise ConfigError.out_of_range(name, value, "0, 1, 2, ... horizons")
        fractions = sum(value for value in (self.validation, self.test) if isinstance(value, float))
        if fractions >= 1.0:
            raise ConfigError.out_of_range("validation and test together", fractions, "[0, 1)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Ends of the parts of each series, in rows.

    Rows [0, train_end) are targets of training, [train_end, valid_end) of validation, the rest of the test.
    Lookbacks may reach into the part before.
    """

    train_end: NDArray[np.int64]  # [S]
    valid_end: NDArray[np.int64]  # [S]


def split(panel: Panel, config: SplitConfig, horizon: int) -> Split:
    """Split every series by time, so that no row is a target in two parts.

    A series too short to give each part its rows and keep `horizon` + 1 rows to train on goes wholly to training.
    Dates are stricter: no row at or after the date is trained on, in any series, however short.

    Raises
    ------
    ConfigError
        When every series is too short, a date leaves a part without a single horizon, a date cannot be read, or
        validation begins after test.
    """
    if horizon < 1:
        raise ConfigError.not_positive("horizon", horizon)
    lengths = panel.lengths
    dated = {part for part in ("validation", "test") if isinstance(getattr(config, part), str)}
    if len(dated) == 2 and parse_boundary(panel, config.validation, "validation") >= parse_boundary(
        panel, config.test, "test"
    ):
        raise ConfigError.split_order(config.validation, config.test)
    valid_end = part_start(panel, config, "test", lengths, horizon)
    train_end = part_start(panel, config, "validation", valid_end, horizon)
    short = train_end < horizon + 1
    if short.all():
        s = int(train_end.argmax())
        raise ConfigError.series_too_short(
            config.validation, config.test, panel.num_series, int(lengths[s]), int(train_end[s]), horizon + 1
        )
    if "validation" not in dated:
        train_end = np.where(short, valid_end if "test" in dated else lengths, train_end)
        valid_end = np.where(short, train_end, valid_end)
    for part, rows in (("validation", valid_end - train_end), ("test", lengths - valid_end)):
        if getattr(config, part) != 0 and rows.max() < horizon:
            raise ConfigError.empty_part(part, getattr(config, part), horizon, span_of(panel))
    return Split(train_end=train_end, valid_end=valid_end)


def part_start(panel: Panel, config: SplitConfig, part: str, end: NDArray[np.int64], horizon: int) -> NDArray[np.int64]:
    """Row of each series at which a part begins that reaches up to row `end`, both [S]."""
    value: Share = getattr(config, part)
    if isinstance(value, str):
        begin = panel.clock.first_step_at(panel.start, parse_boundary(panel, value, part))
    elif isinstance(value, float):
        rows = np.rint(value * panel.lengths).astype(np.int64)
        begin = end - (np.maximum(rows, horizon) if value > 0 else 0)
    else:
        begin = end - value * horizon
    return np.clip(begin, 0, end)


def parse_boundary(panel: Panel, value: object, part: str) -> int:
    """Tick of a written date or time, or of a step of a panel of integer steps."""
    text, clock = str(value), panel.clock
    if clock.step.is_integer:
        if text.lstrip("-").isdigit():
            return int(text)
        raise ConfigError.bad_date(part, text, "a step such as '500'")
    problems = Issues()
    times = read_times(pl.Series([text]), None, problems)
    if times is None or not times.len() or times.null_count():
        raise ConfigError.bad_date(part, text, "a date such as 2017-01-31")
    times = times.cast(pl.Datetime("us", times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None))
    zoned = isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None
    if zoned and clock.time_zone is None:
        raise ConfigError.bad_date(part, text, "a date without a zone, as the table has none")
    if not zoned and clock.time_zone is not None:
        times = times.dt.replace_time_zone(clock.time_zone, ambiguous="earliest")
    return int(clock.ticks(times)[0])


def span_of(panel: Panel) -> str:
    """First and last time of a panel, in words."""
    ends = panel.clock.advance(panel.start, panel.lengths - 1)
    first, last = panel.clock.times(np.array([panel.start.min(), ends.max()]))
    return f"{first} to {last}"


FEW = 3
"""Pairs of neighbouring rows that say nothing yet about how far apart rows are."""


def record_split(panel: Panel, split: Split) -> dict[str, Any]:
    """Give the ticks at which validation and test begin, by the names of the series, as plain values.

    `min_row_spacing` is the least distance in steps between two rows of a series, None where there are no two.
    """
    clock = panel.clock
    return {
        "series": [str(name) for name in panel.ids.tolist()],
        "validation": clock.advance(panel.start, split.train_end).tolist(),
        "test": clock.advance(panel.start, split.valid_end).tolist(),
        "closest": min_row_spacing(panel)[0],
    }


def restore_split(panel: Panel, marks: dict[str, Any]) -> Split:
    """Split a panel where another was split.

    Rows that were targets of training or validation then are never in the test now. Series that were not there
    then are in the test from their first row on.
    """
    number = {name: place for place, name in enumerate(marks["series"])}
    place = np.array([number.get(str(name), -1) for name in panel.ids.tolist()], dtype=np.int64)
    known = place >= 0

    def rows(part: str) -> NDArray[np.int64]:
        ticks = np.where(known, np.asarray(marks[part], dtype=np.int64)[place], panel.start)
        return np.clip(panel.clock.first_step_at(panel.start, ticks), 0, panel.lengths)

    return Split(train_end=rows("validation"), valid_end=rows("test"))


def check_spacing(panel: Panel, marks: dict[str, Any]) -> None:
    """Refuse a table all of whose rows lie farther apart than any that the model was fitted on: it has other steps.

    The gaps would be filled with missing values, and the forecasts would look as if nothing were wrong.

    Raises
    ------
    DataError
        Saying how far apart rows are, and were.
    """
    then, (now, pairs) = marks.get("closest"), min_row_spacing(panel)
    if then is not None and now is not None and pairs >= FEW and now > then:
        raise DataError.other_spacing(panel.clock.frequency, now, then)


def min_row_spacing(panel: Panel) -> tuple[int | None, int]:
    """Least distance in steps between neighbouring rows of a series that hold anything, and how many pairs it is of."""
    filled = np.zeros(panel.num_rows, dtype=np.bool_)
    series = np.repeat(np.arange(panel.num_series), panel.lengths)
    steps = np.empty(0, dtype=np.int64)
    for present in (
        *(~np.isnan(values) for values in panel.reals.values()),
        *(codes >= 0 for codes in panel.categories.values()),
    ):
        filled |= present
        rows = np.flatnonzero(filled)
        steps = np.diff(rows)[np.diff(series[rows]) == 0]
        if steps.size and steps.min() == 1:
            break  # no more of them come closer
    return (int(steps.min()) if steps.size else None), int(steps.size)
