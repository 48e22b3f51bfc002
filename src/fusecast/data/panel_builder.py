"""Validate: the one border that a table crosses to become a Panel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.frequency import Frequency
from fusecast.data.issues import EXAMPLES, Issues
from fusecast.data.panel import Panel
from fusecast.data.parsing import codes_of, read_times, to_codes, to_numbers, to_text
from fusecast.data.schema import Kind, Role, Schema
from fusecast.data.time_grid import Grid, TimeGrid, Value
from fusecast.errors import DataError

MOST_FILLING = 100
"""Filling gaps may multiply the rows by this; beyond it the frequency is surely wrong."""
ONLY_SERIES = "series"
"""Name of the series of a table without an id column."""


def validate(frame: pl.DataFrame, schema: Schema, *, clock: TimeGrid | None = None) -> Panel:
    """Check every row of a table against its schema and lay it out as a Panel.

    Rows may come in any order; series are ordered by id, rows by time, and missing steps between the first and the
    last row of a series are filled with missing values. Empty cells, NaN and null are missing values. A naive time
    column is read in the zone of the schema; without one there, the zone of a zoned column becomes the schema's.

    Parameters
    ----------
    frame
        A table as :func:`fusecast.io.tables.read_table` gives it.
    schema
        What its columns mean. Other columns are ignored.
    clock
        Clock of an earlier panel that this one must agree with, as newer rows of the data a model was fitted on.

    Raises
    ------
    DataError
        With all problems at once: columns that are not there or of a wrong type, text among numbers, infinities,
        empty ids or times, times off the grid, duplicate times, static columns that vary within a series, series
        whose targets are missing throughout (all of them), gaps that only a wrong frequency explains.
    """
    problems = Issues()
    names = (*((schema.id,) if schema.id is not None else ()), schema.time, *(c.name for c in schema.columns))
    for name in names:
        if name not in frame.columns:
            problems.missing_column(name, frame.columns)
    problems.raise_if_any()
    if frame.is_empty():
        raise DataError.empty_table()

    counted = Frequency.parse(schema.frequency).is_integer
    times = read_times(frame[schema.time], schema.time_zone, problems, counted=counted)
    if times is not None:
        clock = agreed_clock(times, schema, clock, problems)
        if times.null_count():
            problems.null_key(schema.time, "time", first(times.is_null()), times.null_count())
    keys = read_ids(frame, schema.id, problems)
    reals = {c.name: to_numbers(frame[c.name], problems) for c in schema.columns if c.kind is Kind.REAL}
    coded = {c.name: to_codes(to_text(frame[c.name], problems)) for c in schema.columns if c.kind is Kind.CATEGORICAL}
    if times is None or times.null_count() or keys is None or clock is None:
        problems.raise_if_any()  # rows without a place: nothing more can be said about series
    assert times is not None
    assert keys is not None
    assert clock is not None

    ids, series = keys
    grid = Grid.of(series, clock.ticks(times), len(ids), clock)
    note_misplaced(grid, ids, clock, schema, problems)
    codes = {name: code for name, (code, _) in coded.items()}
    levels = {name: level for name, (_, level) in coded.items()}
    static = schema.names(Role.STATIC)
    static_reals = {n: once(grid, reals.pop(n), n, ids, None, problems) for n in static if n in reals}
    static_codes = {n: once(grid, codes.pop(n), n, ids, levels[n], problems) for n in static if n in codes}
    note_empty_targets(grid, reals, ids, schema, problems)
    problems.raise_if_any()
    return Panel(
        schema=replace(schema, time_zone=clock.time_zone),
        clock=clock,
        ids=ids,
        indptr=grid.indptr,
        start=grid.start,
        reals={name: grid.fill(reals.pop(name), np.nan) for name in tuple(reals)},
        categories={name: grid.fill(codes.pop(name), -1) for name in tuple(codes)},
        static_reals=static_reals,
        static_categories=static_codes,
        levels=levels,
    )


def first(flags: pl.Series) -> int:
    """Row of the first true value."""
    return int(flags.arg_max() or 0)


def read_ids(
    frame: pl.DataFrame, name: str | None, problems: Issues
) -> tuple[NDArray[np.generic], NDArray[np.int32]] | None:
    """Give the sorted names of the series [S] and the series of each row [n]; None where an id is missing."""
    column = id_column(frame, name, problems)
    if column is None:
        return None
    ids = column.unique().sort()
    if column.dtype == pl.String:
        return as_ids(ids), codes_of(column, ids)
    return as_ids(ids), np.searchsorted(ids.to_numpy(), column.to_numpy()).astype(np.int32)


def id_column(frame: pl.DataFrame, name: str | None, problems: Issues) -> pl.Series | None:
    """Give the id of each row, whole numbers or text; None where one is missing."""
    if name is None:
        return pl.repeat(ONLY_SERIES, len(frame), dtype=pl.String, eager=True)
    column = frame[name]
    if not column.dtype.is_integer():
        column = to_text(column, problems)
    if name in problems.unread:
        return None
    if column.null_count():
        problems.null_key(name, "id", first(column.is_null()), column.null_count())
        return None
    return column


def as_ids(column: pl.Series) -> NDArray[np.generic]:
    """Give names of series as Panel holds them."""
    return np.array(column.to_list()) if column.dtype == pl.String else column.to_numpy()


def agreed_clock(times: pl.Series, schema: Schema, clock: TimeGrid | None, problems: Issues) -> TimeGrid | None:
    """Give the clock of a table, the earlier one if there is one that fits it; None where the kinds of time differ."""
    counts = clock.step.is_integer if clock is not None else Frequency.parse(schema.frequency).is_integer
    if times.dtype.is_integer() != counts:
        frequency = clock.frequency if clock is not None else schema.frequency
        expected = "whole steps" if counts else "dates or times"
        problems.wrong_time_kind(schema.time, times.dtype, f"frequency {frequency} counts {expected}")
        return None
    own = TimeGrid.of(times, schema.frequency)
    if clock is None:
        return own
    if (own.time_zone is None) != (clock.time_zone is None):
        zone = f"are in zone {clock.time_zone}" if clock.time_zone is not None else "have no zone"
        problems.wrong_time_kind(schema.time, times.dtype, f"the times of the earlier table {zone}")
        return None
    return clock


def note_misplaced(grid: Grid, ids: NDArray[np.generic], clock: TimeGrid, schema: Schema, problems: Issues) -> None:
    """Note rows off the grid, rows that share a place, and gaps too wide to be gaps."""

    def place(at: int) -> str:
        series = f" of series {ids[grid.series[at]].item()!r}" if schema.id is not None else ""
        return f"{clock.times(grid.ticks[at : at + 1])[0]}{series} (row {grid.row(at) + problems.offset})"

    if (off := grid.off_grid()).size:
        series = len(np.unique(grid.series[off]))
        problems.off_grid(schema.time, clock.frequency, [place(i) for i in off[:EXAMPLES]], off.size, series)
    if (again := grid.repeated()).size:
        put_back = clock.time_zone is None and not clock.step.is_local and not clock.step.is_integer
        examples = [place(i) for i in again[:EXAMPLES]]
        problems.duplicates(schema.time, schema.id, examples, again.size, put_back=put_back)
    rows, filled = len(grid.steps), int(grid.indptr[-1])
    if filled > MOST_FILLING * rows:
        lengths = np.diff(grid.indptr)
        worst = int(lengths.argmax())
        problems.absurd_gaps(clock.frequency, rows, filled, repr(ids[worst].item()), int(lengths[worst]))


def once(
    grid: Grid,
    values: NDArray[Value],
    name: str,
    ids: NDArray[np.generic],
    levels: tuple[str, ...] | None,
    problems: Issues,
) -> NDArray[Value]:
    """Give the one value of a static column for each series [S]; note series in which it varies."""
    values = grid.sort(values)
    missing = np.isnan(values) if levels is None else values < 0
    place = np.minimum(grid.first_present(missing), len(values) - 1)
    found = values[place]
    varies = np.flatnonzero((values != found[grid.series]) & ~missing)
    series, where = np.unique(grid.series[varies], return_index=True)
    if series.size:
        examples = []
        for s, at in zip(series[:EXAMPLES], varies[where][:EXAMPLES], strict=True):
            pair = [v.item() if levels is None else levels[v] for v in (found[s], values[at])]
            examples.append(f"{ids[s].item()!r} has {pair[0]!r} and {pair[1]!r} (row {grid.row(at) + problems.offset})")
        problems.varying_static(name, examples, series.size)
    return np.where(missing[place], np.array(np.nan if levels is None else -1, dtype=values.dtype), found)


def note_empty_targets(
    grid: Grid, reals: dict[str, NDArray[np.float64]], ids: NDArray[np.generic], schema: Schema, problems: Issues
) -> None:
    """Note series in which no target has a value."""
    targets = [np.isnan(reals[name]) for name in schema.targets if name in reals]
    if not targets or problems.unread.intersection(schema.targets):
        return
    nothing = np.logical_and.reduce(targets)
    if not nothing.any():
        return
    empty = np.flatnonzero(grid.first_present(grid.sort(nothing)) == len(nothing))
    if empty.size:
        examples = [repr(ids[s].item()) for s in empty[:EXAMPLES]]
        problems.no_target_values(schema.targets, examples, empty.size)
