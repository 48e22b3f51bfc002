"""Build a panel from a table: check every row against the schema, and lay the rows out series by series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.frequency import Frequency
from fusecast.data.frequency_inference import find_exchanged
from fusecast.data.ids.columns import ids_to_array, number_series, read_id_columns
from fusecast.data.issues import Issues
from fusecast.data.panel import Panel
from fusecast.data.parsing import encode_categories, find_clock_change, read_times, to_numbers, to_text
from fusecast.data.schema import Kind, Role, Schema
from fusecast.data.time_grid import OFF_GRID, RowPlacement, TimeGrid, Value
from fusecast.errors import DataError
from fusecast.errors.base import MAX_EXAMPLES

MAX_FILL_FACTOR = 100
"""Factor by which filled gaps may multiply the rows; beyond it the frequency is surely wrong."""


def build_panel(frame: pl.DataFrame, schema: Schema, *, allow_empty: bool = False) -> Panel:
    """Check every row of a table against its schema and lay it out as a Panel; other columns are ignored.

    Rows may come in any order; series are ordered by id, rows by time, and missing steps between the first and the
    last row of a series are filled with missing values. Empty cells, NaN and null are missing values. A naive time
    column is read in the zone of the schema; without one there, the zone of a zoned column becomes the schema's.

    Raise a DataError with all problems at once: missing columns or columns of a wrong type, text among numbers,
    infinities, empty ids or times, times off the grid, duplicate times, static columns that vary within a series,
    series without any value of the targets (unless `allow_empty`), gaps that only a wrong frequency explains.
    """
    issues = Issues()
    issues.missing_columns(schema.all_names, frame.columns)
    issues.raise_if_any()
    if frame.is_empty():
        raise DataError.empty_table()

    keyed_times = read_key_times(frame, schema, None, issues)
    id_columns = read_id_columns(frame, schema.id_names, issues)
    reals = {
        c.name: to_numbers(frame[c.name], issues, flags=c.role is not Role.TARGET)
        for c in schema.columns
        if c.kind is Kind.REAL
    }
    weight_issues = Issues() if allow_empty else issues  # a model needs no weights; whatever trains checks them
    reals |= {n: to_numbers(frame[n], weight_issues, flags=True) for n in schema.find_weight(frame.columns)}
    encoded = {
        c.name: encode_categories(to_text(frame[c.name], issues)) for c in schema.columns if c.kind is Kind.CATEGORICAL
    }
    if keyed_times is None or id_columns is None:
        issues.raise_if_any()  # without the keys of all rows, series cannot be checked
    assert keyed_times is not None
    assert id_columns is not None

    times, time_grid = keyed_times
    id_columns, series = number_series(id_columns)
    ids = ids_to_array(id_columns)
    placement = RowPlacement.from_rows(series, time_grid.ticks(times), len(ids), time_grid)
    if placement.order is not None and (row := find_exchanged(times, series)) is not None:
        issues.exchanged_dates(times, row)
        issues.raise_if_any()  # else off the grid, perhaps
    report_misplaced_rows(placement, ids, time_grid, schema, issues)
    codes = {name: code for name, (code, _) in encoded.items()}
    levels = {name: level for name, (_, level) in encoded.items()}
    static = schema.names(Role.STATIC)
    static_reals = {n: read_static(placement, reals.pop(n), n, ids, None, issues) for n in static if n in reals}
    static_codes = {n: read_static(placement, codes.pop(n), n, ids, levels[n], issues) for n in static if n in codes}
    if not allow_empty:
        report_empty_targets(placement, reals, ids, schema, issues)
    issues.raise_if_any()
    return Panel(
        schema=complete_schema(schema, time_grid, id_columns),
        time_grid=time_grid,
        ids=ids,
        id_columns=id_columns,
        indptr=placement.indptr,
        start=placement.start,
        reals={name: placement.fill(reals.pop(name), np.nan) for name in tuple(reals)},
        categories={name: placement.fill(codes.pop(name), -1) for name in tuple(codes)},
        static_reals=static_reals,
        static_categories=static_codes,
        levels=levels,
    )


def complete_schema(schema: Schema, time_grid: TimeGrid, id_columns: pl.DataFrame) -> Schema:
    """Return a schema with what follows from the times and the ids of a table."""
    types = tuple(map(str, id_columns.dtypes)) if schema.id_names else ()
    return replace(
        schema,
        time_zone=time_grid.time_zone,
        month_day=time_grid.month_day,
        id_types=schema.id_types or types,
    )


def read_key_times(
    frame: pl.DataFrame, schema: Schema, earlier: TimeGrid | None, issues: Issues
) -> tuple[pl.Series, TimeGrid] | None:
    """Return the time of each row and their grid; None, with an issue, where a row has no time or another kind.

    `earlier` is the grid of rows read before, which these times must agree with and which then is the grid returned.
    """
    counted = Frequency.parse(schema.frequency).is_integer
    zone = schema.time_zone if earlier is None else earlier.time_zone
    names = [name for name in schema.id_names if name in frame.columns]
    ids = frame.select(names) if names else None
    times = read_times(frame[schema.time], zone, issues, counted=counted, ids=ids)
    if times is None:
        return None
    time_grid = None
    if times.dtype.is_integer() != counted:
        expected = "whole steps" if counted else "dates or times"
        others = "1h, 1d or the like" if counted else "1i"
        hint = f"write {expected}, or set `frequency` to {others}, or leave it out where a model is fitted"
        issues.wrong_time_kind(times, f"frequency {schema.frequency} counts {expected}", hint)
    else:
        time_grid = TimeGrid.from_times(times, schema.frequency, schema.month_day)
    if time_grid is not None and earlier is not None:
        if (time_grid.time_zone is None) == (earlier.time_zone is None):
            time_grid = earlier
        else:
            zone = f"are in zone {earlier.time_zone}" if earlier.time_zone is not None else "have no zone"
            issues.wrong_time_kind(times, f"the times of the earlier table {zone}", "write the times alike in both")
            time_grid = None
    issues.null_keys(times, "time")
    return None if time_grid is None or times.null_count() else (times, time_grid)


def report_absurd_gaps(rows: int, lengths: IntArray, ids: NDArray[np.generic], frequency: str, issues: Issues) -> None:
    """Report if filling the gaps of `rows` rows up to `lengths` [S] is absurd."""
    filled, longest = int(lengths.sum()), int(lengths.argmax())
    if filled > MAX_FILL_FACTOR * rows:
        issues.absurd_gaps(frequency, rows, filled, ids[longest].item(), int(lengths[longest]))


def report_misplaced_rows(
    placement: RowPlacement, ids: NDArray[np.generic], time_grid: TimeGrid, schema: Schema, issues: Issues
) -> None:
    """Report rows off the grid, rows of the same series and time, and gaps too wide to be gaps."""

    def describe(position: int) -> str:
        series = f" of series {ids[placement.series[position]].item()!r}" if schema.id is not None else ""
        time = time_grid.times(placement.ticks[position : position + 1])[0]
        return f"{time}{series} (row {placement.table_row(position)})"

    if (off_grid := np.flatnonzero(placement.steps == OFF_GRID)).size:
        issues.off_grid(schema.time, time_grid.frequency, off_grid, placement.series[off_grid], describe)
    if (repeated := placement.repeated()).size:
        in_wall_time = time_grid.time_zone is None and not time_grid.step.is_local and not time_grid.step.is_integer
        change = find_clock_change(time_grid.times(placement.ticks[repeated])) if in_wall_time else None
        issues.duplicates(schema.time, schema.id_names, map(describe, repeated), repeated.size, clock_change=change)
    report_absurd_gaps(len(placement.steps), np.diff(placement.indptr), ids, time_grid.frequency, issues)


def read_static(
    placement: RowPlacement,
    values: NDArray[Value],
    name: str,
    ids: NDArray[np.generic],
    levels: tuple[str, ...] | None,
    issues: Issues,
) -> NDArray[Value]:
    """Return the one value of a static column for each series [S]; report series in which it varies."""
    values = placement.sort(values)
    missing = np.isnan(values) if levels is None else values < 0
    first_present = placement.first_present(missing)
    absent = first_present == len(values)
    static = values[np.where(absent, 0, first_present)]
    static[absent] = np.nan if levels is None else -1
    varies = np.flatnonzero((values != static[placement.series]) & ~missing)
    series, first_varying = np.unique(placement.series[varies], return_index=True)
    if series.size:
        examples = []
        for s, position in zip(series[:MAX_EXAMPLES], varies[first_varying][:MAX_EXAMPLES], strict=True):
            one, other = (v.item() if levels is None else levels[v] for v in (static[s], values[position]))
            examples.append(f"{ids[s].item()!r} has {one!r} and {other!r} (row {placement.table_row(position)})")
        issues.varying_static(name, examples, series.size)
    return static


def report_empty_targets(
    placement: RowPlacement, reals: dict[str, FloatArray], ids: NDArray[np.generic], schema: Schema, issues: Issues
) -> None:
    """Report series in which no target has a value."""
    targets = [np.isnan(reals[name]) for name in schema.targets if name in reals]
    if not targets or issues.unread.intersection(schema.targets):
        return
    missing = np.logical_and.reduce(targets)
    if not missing.any():
        return
    empty = np.flatnonzero(placement.first_present(placement.sort(missing)) == len(missing))
    if empty.size:
        issues.no_target_values(schema.targets, ids[empty].tolist())
