"""Infer: read the frequency off a time column, or say in words why it cannot be told."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.frequency import MICROSECONDS, canonical
from fusecast.data.issues import Issues
from fusecast.data.parsing import codes_of, read_times
from fusecast.data.time_grid import DAY, OFF_GRID, TimeGrid, is_sorted, sorting
from fusecast.errors import SchemaError

AGREEING = 0.9
"""Share of the differences that must be whole multiples of the step."""
SHORTEST_MONTH = 28


def infer_frequency(frame: pl.DataFrame, id: str | None, time: str) -> str:  # noqa: A002 - the word of the schema
    """Give the frequency of a table: the most common difference between neighbouring times of a series.

    Gaps do no harm. Months, quarters and years are told from days by their stamps: the same day of each month, or
    the last one.

    Raises
    ------
    SchemaError
        When no series has two times, the times are irregular, or steps are shorter than a second.
    DataError
        When the times cannot be read.
    """
    problems = Issues()
    times = read_times(frame[time], None, problems)
    problems.raise_if_any()
    assert times is not None
    present = times.is_not_null()
    series = series_codes(frame[id].filter(present) if id is not None else None, int(present.sum()))
    return frequency_of(times.filter(present), series, time)


def series_codes(ids: pl.Series | None, rows: int) -> NDArray[np.int32]:
    """Number the series of an id column as they appear, [rows]; -1 where the id is missing."""
    if ids is None:
        return np.zeros(rows, dtype=np.int32)
    text = ids if ids.dtype == pl.String else ids.cast(pl.String)
    return codes_of(text, text.drop_nulls().unique(maintain_order=True))


def frequency_of(times: pl.Series, series: NDArray[np.int32], time: str) -> str:
    """Give the frequency of times without missing values, each of a numbered series."""
    whole = times.dtype.is_integer()
    instants = TimeGrid.of(times, "1i" if whole else "1s").ticks(times)
    order = None if is_sorted(series, instants) else sorting(series, instants)
    if order is not None:
        instants, series, times = instants[order], series[order], times.gather(order)
    same = series[1:] == series[:-1]
    steps = np.diff(instants)[same]
    steps = steps[steps > 0]
    if not steps.size:
        raise SchemaError.no_frequency(time, "no series has two different times")
    if whole:
        return dominant_step(steps, time, "i", 1)
    if most_common(steps) < DAY - 2 * MICROSECONDS["h"]:
        unit = next((u for u in ("h", "m", "s") if most_common(steps) % MICROSECONDS[u] == 0), None)
        if unit is None:
            raise SchemaError.no_frequency(time, "its steps are no whole seconds; number them and use 1i")
        return dominant_step(steps, time, unit, MICROSECONDS[unit])

    local = TimeGrid.of(times, "1d").ticks(times)
    days = np.diff(local)[same]
    days = days[days > 0]
    if most_common(days) >= SHORTEST_MONTH * DAY and (months := whole_months(local, series, times)):
        return canonical(f"{months}mo")
    if most_common(days) % DAY:
        return dominant_step(steps, time, "h", MICROSECONDS["h"])
    return dominant_step(days, time, "d", int(DAY))


def whole_months(local: NDArray[np.int64], series: NDArray[np.int32], times: pl.Series) -> int:
    """Months in a step if all stamps lie whole months after the first of their series, else 0."""
    starts = np.flatnonzero(np.concatenate(([True], series[1:] != series[:-1])))
    start = np.repeat(local[starts], np.diff(np.append(starts, len(series))))
    months = TimeGrid.of(times, "1mo").steps_between(start, local)
    if (months == OFF_GRID).any():
        return 0
    steps = np.diff(months)[series[1:] == series[:-1]]
    return most_common(steps[steps > 0])


def most_common(steps: NDArray[np.int64]) -> int:
    """The most common value, the smallest of several."""
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])


def dominant_step(steps: NDArray[np.int64], time: str, unit: str, width: int) -> str:
    """Name the most common step if nearly all others are its multiples."""
    step = most_common(steps)
    share = float((steps % step == 0).mean())
    if share < AGREEING or step % width:
        values, counts = np.unique(steps, return_counts=True)
        top = counts.argsort(kind="stable")[::-1][:3]
        words = ", ".join(f"{values[i] / width:g}{unit} ({counts[i] / len(steps):.0%})" for i in top)
        raise SchemaError.no_frequency(time, f"neighbouring times lie irregularly far apart, mostly {words}")
    return canonical(f"{step // width}{unit}")
