"""Grid: where each row of a table belongs in a panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.clock import OFF_GRID, Clock

Value = TypeVar("Value", np.float64, np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Rows of a table sorted by series and time, and the step of each in its series.

    n is the number of rows given, N that of the panel, S that of series.
    """

    order: NDArray[np.int64] | None  # [n] row of the table at each sorted place; None if the table is sorted
    series: NDArray[np.int32]  # [n] sorted
    ticks: NDArray[np.int64]  # [n] sorted within a series
    steps: NDArray[np.int64]  # [n] since the first row of the series, OFF_GRID where there is no such step
    given: NDArray[np.int64]  # [S + 1] series s was given the sorted rows given[s] to given[s + 1]
    start: NDArray[np.int64]  # [S] first tick
    indptr: NDArray[np.int64]  # [S + 1] rows of the panel, gaps filled

    @classmethod
    def of(cls, series: NDArray[np.int32], ticks: NDArray[np.int64], num_series: int, clock: Clock) -> Grid:
        """Sort rows and count their steps; every series must have a row."""
        order = None
        if not is_sorted(series, ticks):
            order = sorting(series, ticks)
            series, ticks = series[order], ticks[order]
        given = np.concatenate(([0], np.cumsum(np.bincount(series, minlength=num_series))))
        start = ticks[given[:-1]]
        steps = clock.steps_between(start[series], ticks)
        last = np.maximum.reduceat(steps, given[:-1])  # not simply the last row: that one may be off the grid
        indptr = np.concatenate(([0], np.cumsum(last + 1)))
        return cls(order=order, series=series, ticks=ticks, steps=steps, given=given, start=start, indptr=indptr)

    def row(self, place: int) -> int:
        """Row of the table, counted from 0, that was sorted to a place."""
        return int(place if self.order is None else self.order[place])

    def sort(self, values: NDArray[Value]) -> NDArray[Value]:
        """Bring values [n] of the table into sorted order."""
        return values if self.order is None else values[self.order]

    def fill(self, values: NDArray[Value], missing: float) -> NDArray[Value]:
        """Lay values [n] out over the panel's rows [N], with the missing value in the gaps."""
        values = self.sort(values)
        rows = int(self.indptr[-1])
        if rows == len(values):
            return values
        filled = np.full(rows, missing, dtype=values.dtype)
        filled[self.indptr[self.series] + self.steps] = values
        return filled

    def off_grid(self) -> NDArray[np.int64]:
        """Sorted places of rows that are off the grid of their series."""
        return np.flatnonzero(self.steps == OFF_GRID)

    def repeated(self) -> NDArray[np.int64]:
        """Sorted places of rows with the same series and time as the row before."""
        return np.flatnonzero((np.diff(self.ticks) == 0) & (np.diff(self.series) == 0)) + 1

    def first_present(self, missing: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Sorted place of the first value of each series that is not missing [S], n where all are."""
        n = len(missing)
        return np.minimum.reduceat(np.where(missing, n, np.arange(n)), self.given[:-1])


def is_sorted(series: NDArray[np.int32], ticks: NDArray[np.int64]) -> bool:
    """Tell whether rows are in order of series, and of time within each."""
    same, rising = series[1:] == series[:-1], series[1:] > series[:-1]
    return bool((rising | same & (ticks[1:] >= ticks[:-1])).all())


def sorting(series: NDArray[np.int32], ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of rows by series, then time. One key and polars' sort take a fifth of the time of ``np.lexsort``."""
    low = int(ticks.min())
    width = int(ticks.max()) - low + 1
    if (int(series.max()) + 2) * width >= 2**62:  # series start at -1, an empty id
        return np.lexsort((ticks, series))
    key = series.astype(np.int64)
    key *= width
    key += ticks - low
    return pl.Series(key).arg_sort().cast(pl.Int64).to_numpy()
