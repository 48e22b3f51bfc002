"""Calendar features: hour, weekday, month and the like of each row, as known categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.config import CalendarFeatureName
from fusecast.data.arrays import IntArray
from fusecast.data.frequency import MICROSECONDS, Frequency
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.errors.base import join_words

PREFIX = "calendar:"
_METHODS: dict[CalendarFeatureName, tuple[str, int]] = {  # of polars, and the first value
    "minute": ("minute", 0),
    "hour": ("hour", 0),
    "day_of_week": ("weekday", 1),  # Monday is 1
    "day_of_month": ("day", 1),
    "month": ("month", 1),
}
HOUR, DAY = MICROSECONDS["h"], MICROSECONDS["d"]
CYCLES: dict[CalendarFeatureName, tuple[int, str]] = {  # microseconds until the values of a feature repeat, in words
    "minute": (HOUR, "hours"),
    "hour": (DAY, "days"),
    "day_of_week": (7 * DAY, "weeks"),
    "day_of_month": (31 * DAY, "months"),
    "month": (52 * 7 * DAY, "years"),  # a year, in whole weeks
}
"""The cycle of each feature, which `auto` takes where the training rows of the longest series hold two of them."""


@dataclass(frozen=True, kw_only=True)
class CalendarFeature:
    """One feature with a fixed vocabulary: code 0 means unknown (it never occurs), value v has code v + 1."""

    name: CalendarFeatureName
    cardinality: int
    every: int = 1
    """Unit in which values are counted: with 30, the `minute` of half-hourly rows is 0 or 1."""

    @property
    def column(self) -> str:
        """Name of the input of the network."""
        return PREFIX + self.name

    def codes(self, times: pl.Series) -> NDArray[np.int32]:
        """Return the codes [N] of a time column, read in its own zone."""
        method, first = _METHODS[self.name]
        values: pl.Series = getattr(times.dt, method)()
        return (values.cast(pl.Int32) // self.every - first + 1).to_numpy()


def infer_calendar_features(frequency: str) -> tuple[CalendarFeature, ...]:
    """Return the features that differ from row to row at a frequency; none for integer steps.

    Seconds are never a feature. The day of the month is one up to daily steps: with weekly steps it would identify
    single years.
    """
    step = Frequency.parse(frequency)
    if step.is_integer:
        return ()
    if step.months:
        return (CalendarFeature(name="month", cardinality=13),) if step.months % 12 else ()
    # half-hourly rows fall on 2 minutes of an hour, rows every 7 minutes on all 60
    every = max(1, gcd(step.width, HOUR) // MICROSECONDS["m"])
    features = (
        (step.width % HOUR, CalendarFeature(name="minute", cardinality=60 // every + 1, every=every)),
        (step.width % DAY, CalendarFeature(name="hour", cardinality=25)),
        (step.width % (7 * DAY), CalendarFeature(name="day_of_week", cardinality=8)),
        (step.width <= DAY, CalendarFeature(name="day_of_month", cardinality=32)),
        (step.width < 365 * DAY, CalendarFeature(name="month", cardinality=13)),
    )
    return tuple(feature for varies, feature in features if varies)


def select_calendar_features(
    names: Sequence[CalendarFeatureName] | Literal["auto"], frequency: str
) -> tuple[CalendarFeature, ...]:
    """Return the named features, or for ``"auto"`` all that vary.

    Raise a ConfigError when a named feature does not vary at this frequency, or steps are integers.
    """
    varying = infer_calendar_features(frequency)
    if names == "auto":
        return varying
    for name in names:
        if name not in {feature.name for feature in varying}:
            raise ConfigError.calendar_does_not_vary(name, frequency, [feature.name for feature in varying])
    return tuple(feature for feature in varying if feature.name in names)


def training_span(panel: Panel, train_end: IntArray) -> int:
    """Return the ticks from the first training row of a series to the end of its last one, for the longest; 0 without.

    Series of different years do not add up: three of ten weeks each, in three autumns, have seen no year twice.
    """
    has_rows = train_end > 0
    if not has_rows.any():
        return 0
    start = panel.start[has_rows]
    end = panel.time_grid.advance(start, np.minimum(train_end, panel.lengths)[has_rows])
    return int((end - start).max())


def find_repeated_features(frequency: str, span: int) -> tuple[CalendarFeatureName, ...]:
    """Return the features that vary at a frequency and whose cycle fits twice into a span in microseconds."""
    return tuple(f.name for f in infer_calendar_features(frequency) if 2 * CYCLES[f.name][0] <= span)


def describe_calendar(chosen: Sequence[CalendarFeature], frequency: str, span: int) -> str:
    """Return the features that ``"auto"`` has chosen, and why it has left out others."""
    names = [feature.name for feature in chosen]
    left_out = [
        f"{f.name} (two {CYCLES[f.name][1]})" for f in infer_calendar_features(frequency) if f.name not in names
    ]
    text = ", ".join(names) or "none"
    if not left_out:
        return text
    units = {"days": DAY, "hours": HOUR, "minutes": MICROSECONDS["m"], "seconds": MICROSECONDS["s"]}
    unit = next((unit for unit, width in units.items() if span >= 2 * width), "seconds")
    length = f"{span // units[unit]:,} {unit}"
    return f"{text}; without {join_words(left_out)}, more than the {length} of training rows of the longest series"


def to_local_times(times: pl.Series, time_zone: str | None) -> pl.Series:
    """Convert times to a zone's local time; times without a zone and dates stay as they are."""
    if time_zone is not None and isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None:
        return times.dt.convert_time_zone(time_zone)
    return times
