"""Infer the frequency of a time column, or report why it cannot be inferred."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import IntArray
from fusecast.data.frequency import MICROSECONDS, Frequency, canonical_frequency
from fusecast.data.ids.columns import number_series, read_id_column
from fusecast.data.issues import Issues
from fusecast.data.time_grid import MICROSECONDS_PER_DAY, OFF_GRID, TimeGrid, is_sorted, sort_order, split_months
from fusecast.errors import SchemaError

MIN_SHARE_OF_MULTIPLES = 0.9
"""Share of the differences that must be whole multiples of the step."""
MIN_SHARE_OF_ROWS = 0.5
"""Share of the steps that must have a row; with fewer, the frequency or the dates are misunderstood."""
MIN_EXCHANGED = 10
"""Rows at least whose day and month would be exchanged, so that a table is not taken for one by chance."""
DAYS_IN_SHORTEST_MONTH = 28
MIN_WEEKS = 3
"""Weeks that a table spans at least where a day of the week without rows is taken for one that has no step."""
MIN_SHARE_OF_DAYS = 0.8
"""Share of the other days that must have a row then."""
MONDAY = 3
"""Days from a Monday to 1 January 1970."""


def keep_rows_with_keys(times: pl.Series, ids: pl.DataFrame | None) -> tuple[pl.Series, NDArray[np.int32]]:
    """Return the times of the rows with a time and an id, and the number of each such row's series.

    Without id columns, all rows belong to series 0. Raise a DataError where ids are lists or other objects.
    """
    issues = Issues()
    columns = [] if ids is None else [read_id_column(column, issues) for column in ids.iter_columns()]
    issues.raise_if_any()
    rows = pl.DataFrame([*columns, times.alias("#time")]).drop_nulls()
    times = rows["#time"].alias(times.name)
    if ids is None:
        return times, np.zeros(len(times), dtype=np.int32)
    return times, number_series(rows.drop("#time"))[1]


def infer_frequency(times: pl.Series, series: NDArray[np.int32], column: str) -> str:
    """Return the most common difference between neighbouring times of a series, in any order of rows.

    `times` [n] are dates, times or integers without missing values, `series` [n] the number of each row's series.
    Gaps do no harm. Months, quarters and years differ from days by their timestamps: the same day of each month, or
    the last one; business days by the days of the week that never occur. Raise a SchemaError that names the time
    `column` when no series has two times, the times are irregular, or steps are shorter than a microsecond.
    """
    counts_steps = times.dtype.is_integer()
    instants = TimeGrid.from_times(times, "1i" if counts_steps else "1s").ticks(times)
    order = None if is_sorted(series, instants) else sort_order(series, instants)
    if order is not None:
        instants, series, times = instants[order], series[order], times.gather(order)
    same_series = series[1:] == series[:-1]
    steps = np.diff(instants)[same_series]
    steps = steps[steps > 0]
    if not steps.size:
        reason = "no series has two different times"
        if times.dtype == pl.Datetime("ns") and times.n_unique() > len(np.unique(instants)):
            reason = "its steps are shorter than a microsecond; number the rows and use 1i"
        raise SchemaError.no_frequency(column, reason)
    if counts_steps:
        return dominant_step(steps, column, "i", 1)
    step = most_common(steps)
    if step < MICROSECONDS_PER_DAY - 2 * MICROSECONDS["h"]:
        unit = next(u for u in ("h", "m", "s", "ms", "us") if step % MICROSECONDS[u] == 0)
        return dominant_step(steps, column, unit, MICROSECONDS[unit])

    local = TimeGrid.from_times(times, "1d").ticks(times)
    days = np.diff(local)[same_series]
    days = days[days > 0]
    if most_common(days) >= DAYS_IN_SHORTEST_MONTH * MICROSECONDS_PER_DAY and (
        months := count_months(local, series, times)
    ):
        return canonical_frequency(f"{months}mo")
    if most_common(days) % MICROSECONDS_PER_DAY:
        return dominant_step(steps, column, "h", MICROSECONDS["h"])
    if weekdays := find_weekdays(local, series):
        return str(Frequency(1, "b", weekdays))
    return dominant_step(days, column, "d", int(MICROSECONDS_PER_DAY))


def check_filled(times: pl.Series, series: NDArray[np.int32], frequency: str, column: str) -> None:
    """Raise a SchemaError, with what was understood, where most steps of an inferred frequency have no row.

    `series` [n] are the numbers of rows with an id, `times` [n] in any order.
    """
    time_grid = TimeGrid.from_times(times, frequency)
    rows = pl.DataFrame({"series": series, "tick": time_grid.ticks(times)})
    spans = rows.group_by("series").agg(start=pl.col("tick").min(), last=pl.col("tick").max(), rows=pl.len())
    steps = time_grid.steps_between(spans["start"].to_numpy(), spans["last"].to_numpy())
    filled = int(np.maximum(steps, 0).sum()) + len(spans)
    if (steps != OFF_GRID).all() and len(rows) < MIN_SHARE_OF_ROWS * filled:
        worst = int(steps.argmax())
        first, last = time_grid.times(np.array(spans[["start", "last"]].row(worst))).cast(pl.String)
        raise SchemaError.mostly_empty(column, frequency, len(rows), filled, f"{first} to {last}")


def find_exchanged(times: pl.Series, series: NDArray[np.int32]) -> int | None:
    """Return the first row out of order in a table that is in order where day and month are exchanged up to day 12.

    That is how programs read dates that are written day first where they expect the month first, or the other way
    round. None for all other tables, and where too few rows would change.
    """
    if times.dtype.is_integer() or len(times) < MIN_EXCHANGED:
        return None
    ticks = TimeGrid.from_times(times, "1d").ticks(times)
    order = None if (series[1:] >= series[:-1]).all() else series.argsort(kind="stable")
    if order is not None:
        ticks, series = ticks[order], series[order]
    same = series[1:] == series[:-1]
    falling = np.flatnonzero(same & (np.diff(ticks) < 0))
    if not falling.size:
        return None
    months, days, rest = split_months(ticks)
    year, month = np.divmod(months, 12)
    swapped = (year * 12 + days).astype("M8[M]").astype("M8[D]").astype(np.int64) + month
    swapped = np.where(days < 12, swapped * MICROSECONDS_PER_DAY + rest, ticks)
    if int((swapped != ticks).sum()) < MIN_EXCHANGED or (np.diff(swapped)[same] <= 0).any():
        return None
    row = int(falling[0]) + 1
    return row if order is None else int(order[row])


def count_months(local: IntArray, series: NDArray[np.int32], times: pl.Series) -> int:
    """Return the months in a step if all timestamps lie whole months after the first of their series, else 0."""
    starts = np.flatnonzero(np.concatenate(([True], series[1:] != series[:-1])))
    start = np.repeat(local[starts], np.diff(np.append(starts, len(series))))
    months = TimeGrid.from_times(times, "1mo").steps_between(start, local)
    if (months == OFF_GRID).any():
        return 0
    steps = np.diff(months)[series[1:] == series[:-1]]
    return most_common(steps[steps > 0])


def find_weekdays(local: IntArray, series: NDArray[np.int32]) -> tuple[int, ...]:
    """Return the days of the week that have steps, Monday is 0; () where all or only one has, or the rows are too few.

    `local` are sorted within each series.
    """
    days = local // MICROSECONDS_PER_DAY
    present = np.unique((days + MONDAY) % 7)
    if not 1 < len(present) < 7 or days.max() - days.min() < 7 * MIN_WEEKS:
        return ()
    starts = np.flatnonzero(np.concatenate(([True], series[1:] != series[:-1])))
    ends = np.append(starts[1:], len(series)) - 1
    possible = np.busday_count(
        days[starts].astype("M8[D]"), (days[ends] + 1).astype("M8[D]"), weekmask=np.isin(np.arange(7), present)
    ).sum()
    rows = int((np.diff(days) != 0)[series[1:] == series[:-1]].sum()) + len(starts)
    return tuple(present.tolist()) if rows >= MIN_SHARE_OF_DAYS * possible else ()


def most_common(steps: IntArray) -> int:
    """Return the most common value, the smallest of several."""
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])


def dominant_step(steps: IntArray, column: str, unit: str, width: int) -> str:
    """Return the most common step as a frequency if nearly all other steps are multiples of it."""
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[counts.argmax()])
    if float((steps % step == 0).mean()) < MIN_SHARE_OF_MULTIPLES or step % width:
        top = counts.argsort(kind="stable")[::-1][:3]
        words = ", ".join(f"{values[i] / width:g}{unit} ({counts[i] / len(steps):.0%})" for i in top)
        reason = f"neighbouring times lie irregularly far apart, mostly {words}"
        if unit == "d" and step >= DAYS_IN_SHORTEST_MONTH * width:
            raise SchemaError.no_months(column, reason)
        raise SchemaError.no_frequency(column, reason)
    return canonical_frequency(f"{step // width}{unit}")
