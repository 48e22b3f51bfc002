"""Slices: the parts of the calendar that forecasts are judged in apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.features.calendar import CalendarFeature, local_times, varying_features

NAMES = {"hour": "hour", "day_of_week": "weekday", "month": "month"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One way to cut the calendar: by hour, weekday or month of the step that is forecast."""

    name: str
    feature: CalendarFeature

    @property
    def labels(self) -> tuple[str, ...]:
        """What its groups are called, in the order of their numbers."""
        if self.name == "weekday":
            return WEEKDAYS
        first = 0 if self.name == "hour" else 1
        return tuple(str(value + first) for value in range(self.feature.cardinality - 1))

    def numbers(self, panel: Panel, series: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the group of rows [W, H] of series [W], in the time zone of the schema."""
        times = panel.times_of(np.repeat(series, rows.shape[1]), rows.ravel())
        codes = self.feature.codes(local_times(times, panel.schema.time_zone))
        return codes.astype(np.int64).reshape(rows.shape) - 1


def slices_for(frequency: str) -> tuple[Slice, ...]:
    """Give the slices that tell rows of a frequency apart; none for integer steps and years.

    >>> [one.name for one in slices_for("1h")], [one.name for one in slices_for("1mo")]
    (['hour', 'weekday', 'month'], ['month'])
    """
    return tuple(
        Slice(name=NAMES[feature.name], feature=feature)
        for feature in varying_features(frequency)
        if feature.name in NAMES
    )
