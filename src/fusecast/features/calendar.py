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
from fusecast.data.frequency import MICROSECONDS, Frequency
from fusecast.errors import ConfigError

PREFIX = "calendar:"
_METHODS: dict[CalendarFeatureName, tuple[str, int]] = {  # of polars, and the first value
    "minute": ("minute", 0),
    "hour": ("hour", 0),
    "day_of_week": ("weekday", 1),  # Monday is 1
    "day_of_month": ("day", 1),
    "month": ("month", 1),
}


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
    hour, day = MICROSECONDS["h"], MICROSECONDS["d"]
    # half-hourly rows fall on 2 minutes of an hour, rows every 7 minutes on all 60
    every = max(1, gcd(step.width, hour) // MICROSECONDS["m"])
    features = (
        (step.width % hour, CalendarFeature(name="minute", cardinality=60 // every + 1, every=every)),
        (step.width % day, CalendarFeature(name="hour", cardinality=25)),
        (step.width % (7 * day), CalendarFeature(name="day_of_week", cardinality=8)),
        (step.width <= day, CalendarFeature(name="day_of_month", cardinality=32)),
        (step.width < 365 * day, CalendarFeature(name="month", cardinality=13)),
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


def to_local_times(times: pl.Series, time_zone: str | None) -> pl.Series:
    """Convert times to a zone's local time; times without a zone and dates stay as they are."""
    if time_zone is not None and isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None:
        return times.dt.convert_time_zone(time_zone)
    return times
