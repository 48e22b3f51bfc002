"""Clock: what a step in time is, and which number it has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Counts steps of a frequency.

    Ticks are int64: the integer itself for integer steps, else microseconds since 1970, in UTC for
    steps shorter than a day, in local wall time for days and longer (a local day is not always 24 hours).
    """

    frequency: str  # canonical, as in Schema.frequency
    time_zone: str | None = None
    month_end: bool = False  # monthly, quarterly, yearly stamps that sit on the last day of a month

    def ticks(self, times: pl.Series) -> NDArray[np.int64]:
        """Ticks of a time column."""
        raise NotImplementedError

    def times(self, ticks: NDArray[np.int64]) -> pl.Series:
        """Inverse of :meth:`ticks`, with the dtype and zone of the table."""
        raise NotImplementedError

    def advance(self, start: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ticks of the times that lie `steps` steps after `start`, elementwise."""
        raise NotImplementedError

    def steps_between(self, start: NDArray[np.int64], ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Whole steps from `start` to `ticks`, -1 * 2**62 where a stamp is off the grid."""
        raise NotImplementedError
