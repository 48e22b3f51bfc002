"""Time grids: times as step numbers of a frequency, and where the rows of a table belong in a panel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import BoolArray, IntArray
from fusecast.data.frequency import Frequency, canonical_frequency

OFF_GRID = -1 * 2**62
"""Step of a time that lies on no step of the grid."""
MICROSECONDS_PER_DAY = np.int64(86_400_000_000)

Value = TypeVar("Value", np.float64, np.int32)
"""A real, or the code of a category."""


@dataclass(frozen=True, kw_only=True)
class TimeGrid:
    """The steps of a frequency, counted from the first time of each series.

    Times are held as int64 ticks: the integer itself for integer steps, else microseconds since 1970, in UTC for
    steps shorter than a day, in local wall time for days and longer (a local day is not always 24 hours).
    Months lie on one day of the month where all times of the table do, or on the last day where that is missing:
    30 January, 28 February, 30 March. Else they are counted from the start of each series in the same way. Business
    days are counted without the days of the week that have no step.
    """

    frequency: str  # canonical, as in Schema.frequency
    time_zone: str | None = None
    month_day: int | None = None  # day of the month of all monthly, quarterly or yearly times, 31 for the last day
    dtype: str = "datetime[us]"  # type of the time column: date, datetime[ms|us|ns], or an integer type

    def __post_init__(self) -> None:
        object.__setattr__(self, "frequency", canonical_frequency(self.frequency))

    @classmethod
    def from_times(cls, times: pl.Series, frequency: str, month_day: int | None = None) -> Self:
        """Build the grid of a time column: its zone and type, and the day of the month, `month_day` where that fits."""
        step = Frequency.parse(frequency)
        zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
        month_day = find_month_day(days_of_months(times), month_day) if step.months else None
        unit = times.dtype.time_unit if isinstance(times.dtype, pl.Datetime) else None
        dtype = f"datetime[{unit}]" if unit else str(times.dtype).lower()
        return cls(frequency=str(step), time_zone=zone, month_day=month_day, dtype=dtype)

    @cached_property
    def step(self) -> Frequency:
        """Return the frequency, parsed."""
        return Frequency.parse(self.frequency)

    def ticks(self, times: pl.Series) -> IntArray:
        """Return the ticks of a time column without missing values; its type may differ from `dtype`."""
        if self.step.is_integer:
            return times.cast(pl.Int64).to_numpy()
        if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None and self.step.is_local:
            times = times.dt.convert_time_zone(self.time_zone or times.dtype.time_zone).dt.replace_time_zone(None)
        return times.cast(pl.Datetime("us")).to_physical().to_numpy()

    def times(self, ticks: IntArray) -> pl.Series:
        """Return the times of ticks, in the type and zone of the table."""
        values = pl.Series(np.ascontiguousarray(ticks, dtype=np.int64))
        if self.step.is_integer:
            return values.cast(pl.Series(np.empty(0, self.dtype)).dtype)  # NumPy and polars name integer types alike
        stamps = values.cast(pl.Datetime("us"))
        if self.dtype == "date":
            return stamps.cast(pl.Date)
        if self.time_zone is not None and self.step.is_local:
            stamps = self._localised(stamps)
        elif self.time_zone is not None:
            stamps = stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(self.time_zone)
        return stamps.dt.cast_time_unit(self.dtype[-3:-1])  # type: ignore[arg-type]

    def advance(self, start: IntArray, steps: IntArray) -> IntArray:
        """Return the ticks that lie `steps` steps after `start`, elementwise.

        A start on a day of the week without a step counts as the next one that has a step.
        """
        if self.step.weekdays:
            days, rest = np.divmod(start, MICROSECONDS_PER_DAY)
            moved = np.busday_offset(days.astype("M8[D]"), steps, roll="forward", weekmask=self._weekmask)
            return np.asarray(moved.astype(np.int64) * MICROSECONDS_PER_DAY + rest, dtype=np.int64)
        if not self.step.months:
            return np.asarray(start + steps * self.step.width, dtype=np.int64)
        month, day, rest = split_months(start)
        target = month + steps * self.step.months
        first = target.astype("M8[M]").astype("M8[D]").astype(np.int64)
        after = (target + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
        day = np.minimum(day if self.month_day is None else self.month_day - 1, after - first - 1)
        return np.asarray((first + day) * MICROSECONDS_PER_DAY + rest, dtype=np.int64)

    def steps_between(self, start: IntArray, ticks: IntArray) -> IntArray:
        """Return the whole steps from `start` to `ticks`, `OFF_GRID` where a tick is off the grid."""
        if self.step.weekdays:
            steps = self._count_days(start, ticks)
            on_grid = self.advance(start, steps) == ticks
        elif self.step.months:
            steps = (split_months(ticks)[0] - split_months(start)[0]) // self.step.months
            on_grid = self.advance(start, steps) == ticks
        else:
            steps, rest = np.divmod(ticks - start, self.step.width)
            on_grid = rest == 0
        if not on_grid.all() and self.step.is_local and self.time_zone is not None:
            # Where daylight saving time begins at midnight, that midnight does not exist and the day's time is 01:00.
            doubtful = np.flatnonzero(~on_grid)
            expected = self.advance(np.broadcast_to(start, steps.shape)[doubtful], steps[doubtful])
            on_grid[doubtful] = self.ticks(self.times(expected)) == ticks[doubtful]
        return np.where(on_grid, steps, OFF_GRID) if not on_grid.all() else steps

    def first_step_at(self, start: IntArray, tick: int | IntArray) -> IntArray:
        """Return the steps from `start` to the first time at or after `tick`; negative where that is before `start`."""
        if self.step.weekdays:
            steps = self._count_days(start, tick)
        elif not self.step.months:
            return np.asarray(-((start - tick) // self.step.width), dtype=np.int64)
        else:
            steps = (split_months(np.atleast_1d(tick))[0] - split_months(start)[0]) // self.step.months
        return np.where(self.advance(start, steps) >= tick, steps, steps + 1)

    @cached_property
    def _weekmask(self) -> NDArray[np.bool_]:
        return np.isin(np.arange(7), self.step.weekdays)

    def _count_days(self, start: IntArray, ticks: int | IntArray) -> IntArray:
        """Return the days with a step from `start` to the first at or after `ticks`; negative where that is earlier."""
        first, last = (
            np.busday_offset((each // MICROSECONDS_PER_DAY).astype("M8[D]"), 0, roll="forward", weekmask=self._weekmask)
            for each in (np.asarray(start, dtype=np.int64), np.asarray(ticks, dtype=np.int64))
        )
        return np.asarray(np.busday_count(first, last, weekmask=self._weekmask), dtype=np.int64)

    def _localised(self, stamps: pl.Series) -> pl.Series:
        """Convert wall times to times in the zone: the earlier of two; after the gap where a time does not exist."""
        local = stamps.dt.replace_time_zone(self.time_zone, ambiguous="earliest", non_existent="null")
        if local.null_count() == stamps.null_count():
            return local
        # The day before still had the old offset: 24 hours after it is the first time after the gap.
        day_before = stamps.dt.offset_by("-1d").dt.replace_time_zone(
            self.time_zone, ambiguous="earliest", non_existent="null"
        )
        return local.zip_with(local.is_not_null(), day_before.dt.offset_by("24h"))


def days_of_months(times: pl.Series) -> set[tuple[int, int]]:
    """Return the days of the month of a time column, each with the last day of its month."""
    dates = times.drop_nulls().dt.date()
    return set(pl.DataFrame({"day": dates.dt.day(), "last": dates.dt.month_end().dt.day()}).unique().rows())


def find_month_day(days: Collection[tuple[int, int]], earlier: int | None = None) -> int | None:
    """Return the day of the month on which all times lie, or on the last day where that is missing; 31 for last days.

    `earlier`, the day of an earlier table, is preferred where it fits; None where no day does. `days` are those of
    :func:`days_of_months`.
    """
    candidates = (earlier, 31, max((day for day, _ in days), default=None))
    fitting = (each for each in candidates if each is not None and all(day == min(each, last) for day, last in days))
    return next(fitting, None) if days else earlier


def split_months(ticks: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Split local ticks into months since 1970, days since the first of the month, and microseconds of the day."""
    days, rest = np.divmod(ticks, MICROSECONDS_PER_DAY)
    dates = days.astype("M8[D]")
    months = dates.astype("M8[M]")
    day = days - months.astype("M8[D]").astype(np.int64)
    return months.astype(np.int64), day, rest


@dataclass(frozen=True, kw_only=True, eq=False)
class RowPlacement:
    """Rows of a table sorted by series and time, and the step of each in its series.

    n is the number of rows of the table, N that of the panel, S that of series.
    """

    order: IntArray | None  # [n] row of the table at each sorted position; None if the table is sorted
    series: NDArray[np.int32]  # [n] sorted
    ticks: IntArray  # [n] sorted within a series
    steps: IntArray  # [n] since the first row of the series, OFF_GRID where a row is off the grid
    table_indptr: IntArray  # [S + 1] series s has the sorted rows table_indptr[s] to table_indptr[s + 1]
    start: IntArray  # [S] first tick
    indptr: IntArray  # [S + 1] rows of the panel, gaps filled

    @classmethod
    def from_rows(
        cls, series: NDArray[np.int32], ticks: IntArray, num_series: int, time_grid: TimeGrid
    ) -> RowPlacement:
        """Sort the rows of a table and count their steps; every series must have a row."""
        order = None
        if not is_sorted(series, ticks):
            order = sort_order(series, ticks)
            series, ticks = series[order], ticks[order]
        table_indptr = np.concatenate(([0], np.cumsum(np.bincount(series, minlength=num_series))))
        start = ticks[table_indptr[:-1]]
        steps = time_grid.steps_between(start[series], ticks)
        last = np.maximum.reduceat(steps, table_indptr[:-1])  # not simply the last row: it may be off the grid
        last = np.maximum(last, 0)  # all rows of a series may be, on days of the week without a step
        indptr = np.concatenate(([0], np.cumsum(last + 1)))
        return cls(
            order=order, series=series, ticks=ticks, steps=steps, table_indptr=table_indptr, start=start, indptr=indptr
        )

    def table_row(self, position: int) -> int:
        """Return the row of the table, counted from 0, at a sorted position."""
        return int(position if self.order is None else self.order[position])

    def sort(self, values: NDArray[Value]) -> NDArray[Value]:
        """Return values [n] of the table in sorted order."""
        return values if self.order is None else values[self.order]

    def fill(self, values: NDArray[Value], missing: float) -> NDArray[Value]:
        """Return values [n] of the table at their rows of the panel [N], `missing` in the gaps."""
        values = self.sort(values)
        rows = int(self.indptr[-1])
        if rows == len(values):
            return values
        filled = np.full(rows, missing, dtype=values.dtype)
        filled[self.indptr[self.series] + self.steps] = values
        return filled

    def repeated(self) -> IntArray:
        """Return the sorted positions of rows with the same series and time as the row before."""
        return np.flatnonzero((np.diff(self.ticks) == 0) & (np.diff(self.series) == 0)) + 1

    def first_present(self, missing: BoolArray) -> IntArray:
        """Return the sorted position of the first value of each series that is not missing [S], n where all are."""
        n = len(missing)
        return np.minimum.reduceat(np.where(missing, n, np.arange(n)), self.table_indptr[:-1])


def is_sorted(series: NDArray[np.int32], ticks: IntArray) -> bool:
    """Return whether rows are in order of series, and of time within each."""
    same, rising = series[1:] == series[:-1], series[1:] > series[:-1]
    return bool((rising | same & (ticks[1:] >= ticks[:-1])).all())


def sort_order(series: NDArray[np.int32], ticks: IntArray) -> IntArray:
    """Return the order of rows by series, then time.

    One key and the sort of polars take a fifth of the time of ``np.lexsort``.
    """
    low = int(ticks.min())
    width = int(ticks.max()) - low + 1
    if (int(series.max()) + 2) * width >= 2**62:  # series start at -1, an empty id
        return np.lexsort((ticks, series))
    key = series.astype(np.int64)
    key *= width
    key += ticks - low
    return pl.Series(key).arg_sort().cast(pl.Int64).to_numpy()
