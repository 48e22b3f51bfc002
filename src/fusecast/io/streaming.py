"""Build a stored panel from a Parquet file or folder larger than memory, in two passes over its rows, in any order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from fusecast.data.arrays import IntArray, release, reserve, row_blocks
from fusecast.data.frequency_inference import find_exchanged
from fusecast.data.ids.columns import ids_to_array, read_id_columns, to_sortable
from fusecast.data.issues import Issues
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import complete_schema, read_key_times, report_absurd_gaps
from fusecast.data.parsing import encode_levels, find_clock_change, read_times, to_numbers, to_text
from fusecast.data.schema import Kind, Role, Schema
from fusecast.data.time_grid import OFF_GRID, TimeGrid, days_of_months, find_month_day, is_sorted
from fusecast.errors import ArtifactError, DataError, FusecastError
from fusecast.io.atomic import translate_write_errors, write_text_atomically
from fusecast.io.panel_store import STEMS, open_panel, write_panel
from fusecast.io.parquet import ParquetTable, translate_read_errors
from fusecast.io.tables import to_plain_type

BATCH_ROWS = 250_000
"""Rows in memory at a time."""
ID = "id "
"""What the columns of ids are called while runs are combined, with their numbers."""
PIECES_AT_ONCE = 16
"""Pieces of a table after which what has been written is safe on the disk, so that a killed process goes on there."""
PROGRESS, FILLED = "progress.json", "filled.npy"
MISSING = {"reals": np.nan, "categories": -1}
TYPES: dict[str, type[np.generic]] = {"reals": np.float64, "categories": np.int32}


def stream_parquet(
    source: str | Path,
    schema: Schema,
    folder: str | Path,
    *,
    batch_rows: int | None = None,
    allow_empty: bool = False,
) -> Panel:
    """Check a Parquet file or folder and store it as a panel in `folder`, with `batch_rows` rows in memory at a time
    (None: :data:`BATCH_ROWS`).

    Return the same panel as :func:`fusecast.data.panel_builder.build_panel`, its columns mapped from files. Rows may
    come in any order; sorted ones are written fastest. The table is read twice: for series, lengths, statics and the
    levels of categories; then for the values. Memory grows with series and levels, not with rows.

    The panel is built beside the folder, which it replaces when it is whole; after a kill, the next call goes on with
    what was written, so that `folder` must be one of this content and schema.

    Raise a DataError when the table is missing, or rows break a rule of ``build_panel``; the problems of the first
    batch that has any are raised together.
    """
    table, folder, batch_rows = ParquetTable.at(source), Path(folder), batch_rows or BATCH_ROWS
    table.require_columns(schema.all_names)
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        with translate_write_errors(partial):
            panel = _resume(partial)
            if panel is None:
                panel = _begin(table, schema, partial, batch_rows, allow_empty)
            write_values(table, panel, partial)
            for name in (PROGRESS, FILLED):
                (partial / name).unlink()
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    except FusecastError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return open_panel(folder)


def _begin(table: ParquetTable, schema: Schema, partial: Path, batch_rows: int, allow_empty: bool) -> Panel:
    """Survey a table, and make a folder with files for all that varies over time, whose values are missing so far."""
    panel = survey_table(read_batches(table, schema, batch_rows), schema, table.path, allow_empty)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    varying = [column for column in schema.columns if column.role is not Role.STATIC]
    columns = {
        "reals": [c.name for c in varying if c.kind is Kind.REAL] + list(schema.find_weight(table.types)),
        "categories": [c.name for c in varying if c.kind is Kind.CATEGORICAL],
    }
    for group, names in columns.items():
        for k in range(len(names)):
            create_array(partial / f"{STEMS[group]}_{k}.npy", TYPES[group], panel.num_rows)
    create_array(partial / FILLED, np.uint8, panel.num_rows)
    write_panel(panel, partial, stored=columns)
    write_text_atomically(partial / PROGRESS, json.dumps({"pieces": 0, "steps": 0, "batch_rows": batch_rows}))
    return open_panel(partial)


def _resume(partial: Path) -> Panel | None:
    """Return the panel whose values a killed process was writing; None where there is none, or it is damaged."""
    if not (partial / PROGRESS).exists():
        return None
    with suppress(ArtifactError, ValueError):
        return open_panel(partial)
    return None


def create_array(path: Path, dtype: type[np.generic], rows: int) -> None:
    """Create a ``.npy`` file of zeros, with space on the disk."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (rows,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        reserve(file.fileno(), file.tell() + rows * np.dtype(dtype).itemsize)


def read_first_rows(path: str | Path, rows: int = BATCH_ROWS) -> pl.DataFrame:
    """Return the first rows of a Parquet file or folder, for :func:`fusecast.data.schema.make_schema`."""
    frame = ParquetTable.at(path).read(rows)
    return frame.with_columns(map(to_plain_type, frame.iter_columns()))


@dataclass(frozen=True, kw_only=True, eq=False)
class TableBatch:
    """Neighbouring rows of a table; a run is neighbouring rows of one series in the batch."""

    frame: pl.DataFrame  # [n]
    ids: pl.DataFrame  # [R] ids of each run
    run: NDArray[np.int32]  # [n]
    times: pl.Series  # [n]
    ticks: IntArray  # [n]
    time_grid: TimeGrid
    issues: Issues  # with the number of rows before the batch
    piece: int  # of the table


def read_batches(
    table: ParquetTable, schema: Schema, rows: int, time_grid: TimeGrid | None = None, pieces_done: int = 0
) -> Iterator[TableBatch]:
    """Read the columns of a schema in batches of rows, with a time grid or that of the first; raise if keys are bad."""
    import pyarrow.parquet as pq

    columns, offset = [*schema.all_names, *schema.find_weight(table.types)], 0
    types = {name: table.types[name] for name in columns}
    time_texts = _parse_time_texts(table, schema, rows) if types[schema.time] == pl.String else None
    for number, piece in enumerate(table.pieces(rows)):
        with (
            translate_read_errors(piece.file),
            pq.ParquetFile(piece.file, pre_buffer=False) as file,
        ):  # else all bytes would stay until it is closed
            if number < pieces_done:
                offset += sum(file.metadata.row_group(group).num_rows for group in piece.groups)
                continue
            for batch in file.iter_batches(batch_size=rows, columns=columns, row_groups=piece.groups):
                frame = pl.DataFrame(batch).select(columns)
                if frame.is_empty():
                    continue
                if len(table.files) > 1:
                    frame = frame.cast(types)  # type: ignore[arg-type]
                frame = frame.with_columns(map(to_plain_type, frame.iter_columns()))
                if time_texts is not None:
                    frame = frame.with_columns(_replace_texts(frame[schema.time], time_texts))
                issues = Issues(offset)
                keyed_times = read_key_times(frame, schema, time_grid, issues)
                ids = read_id_columns(frame, schema.id_names, issues)
                issues.raise_if_any()
                assert keyed_times is not None
                assert ids is not None
                times, time_grid = keyed_times
                begins = ids.select(pl.any_horizontal(pl.all() != pl.all().shift(1)).fill_null(value=False)).to_series()
                run = begins.cum_sum().cast(pl.Int32)
                yield TableBatch(
                    frame=frame,
                    ids=_copy(ids.filter(run.is_first_distinct())),
                    run=run.to_numpy(),
                    times=times,
                    ticks=time_grid.ticks(times),
                    time_grid=time_grid,
                    issues=issues,
                    piece=number,
                )
                offset += len(frame)


def _parse_time_texts(table: ParquetTable, schema: Schema, rows: int) -> pl.DataFrame:
    """Return the different texts of the time column, and the times that they are by the one format of all."""
    import pyarrow.parquet as pq

    texts = pl.Series(schema.time, [], dtype=pl.String)
    for piece in table.pieces(rows):
        with translate_read_errors(piece.file), pq.ParquetFile(piece.file, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=rows, columns=[schema.time], row_groups=piece.groups):
                texts = texts.append(pl.DataFrame(batch)[schema.time].cast(pl.String)).unique()
    issues, texts = Issues(), texts.drop_nulls().sort()
    times = read_times(texts, None, issues)
    issues.raise_if_any()
    assert times is not None
    return pl.DataFrame([texts.alias("text"), times.alias("time")])


def _replace_texts(column: pl.Series, times: pl.DataFrame) -> pl.Series:
    return (
        pl.DataFrame({"text": column})
        .join(times, on="text", how="left", maintain_order="left")["time"]
        .alias(column.name)
    )


def _copy(ids: pl.DataFrame) -> pl.DataFrame:
    """Return a copy of ids; a slice would keep the text of all rows."""
    return pl.DataFrame([pl.Series(column.name, column.to_list(), dtype=column.dtype) for column in ids.iter_columns()])


# First pass: series, lengths, statics and levels.


def survey_table(batches: Iterable[TableBatch], schema: Schema, path: Path, allow_empty: bool = False) -> Panel:
    """Return the panel of a table without its columns that vary over time; memory grows with series and levels only.

    Raise a DataError when statics vary, a series has no target values, or gaps are too wide.
    """
    levels: dict[str, set[str]] = {c.name: set() for c in schema.columns if c.kind is Kind.CATEGORICAL}
    runs: list[pl.DataFrame] = []
    time_grid: TimeGrid | None = None
    days: set[tuple[int, int]] = set()
    rows, combined = 0, 0
    for batch in batches:
        time_grid = batch.time_grid
        if time_grid.step.months:
            days |= days_of_months(batch.times)
        if not is_sorted(batch.run, batch.ticks) and (row := find_exchanged(batch.times, batch.run)) is not None:
            batch.issues.exchanged_dates(batch.times, row)
        runs.append(summarize_runs(batch, schema, levels))
        batch.issues.raise_if_any()
        rows += len(batch.frame)
        if sum(map(len, runs)) > 2 * combined + BATCH_ROWS:
            runs = [aggregate_by(pl.concat(runs), pl.col(f"^{ID}.*$"))]
            combined = len(runs[0])
    if time_grid is None:
        raise DataError.empty_table(f"file {path}")
    if time_grid.step.months:
        time_grid = replace(time_grid, month_day=find_month_day(days, schema.month_day))
    return combine_runs(pl.concat(runs), time_grid, schema, levels, rows, allow_empty)


def summarize_runs(batch: TableBatch, schema: Schema, levels: dict[str, set[str]]) -> pl.DataFrame:
    """Return a row per run of a batch: first and last tick, least and greatest statics, and if it has a target.

    The categories of the batch are added to `levels`.
    """
    frame, issues = batch.frame, batch.issues
    targets = [np.isfinite(to_numbers(frame[name], issues)) for name in schema.targets]
    rows: dict[str, Any] = {"run": batch.run, "start": batch.ticks, "last": batch.ticks}
    rows["target"] = np.logical_or.reduce(targets)
    statics = schema.names(Role.STATIC)
    for name, known in levels.items():
        text = to_text(frame[name], issues)
        known.update(text.drop_nulls().unique())
        if name in statics:
            rows[f"least {name}"] = rows[f"greatest {name}"] = text
    for name in schema.names(Role.STATIC, Kind.REAL):
        rows[f"least {name}"] = rows[f"greatest {name}"] = pl.Series(
            to_numbers(frame[name], issues, flags=True), nan_to_null=True
        )
    ids = [column.alias(f"{ID}{i}") for i, column in enumerate(batch.ids.iter_columns())]
    return aggregate_by(pl.DataFrame(rows), "run").select(*ids, pl.exclude("run"))


def aggregate_by(rows: pl.DataFrame, key: str | pl.Expr) -> pl.DataFrame:
    """Return a row per run or series: first and last tick, least and greatest statics, and if it has a target."""
    return rows.group_by(key, maintain_order=True).agg(
        pl.col("start").min(),
        pl.col("last").max(),
        pl.col("target").any(),
        cs.starts_with("least ").min(),
        cs.starts_with("greatest ").max(),
    )


def combine_runs(
    runs: pl.DataFrame,
    time_grid: TimeGrid,
    schema: Schema,
    levels: dict[str, set[str]],
    rows: int,
    allow_empty: bool,
) -> Panel:
    """Combine the runs of each series, at most one per batch, and check the series."""
    series, statics, issues = aggregate_by(runs, pl.col(f"^{ID}.*$")), schema.names(Role.STATIC), Issues()
    order = pl.DataFrame([to_sortable(column) for column in series.select(cs.starts_with(ID)).iter_columns()])
    series = series[order.select(pl.arg_sort_by(order.columns)).to_series()]
    id_columns = series.select(cs.starts_with(ID))
    id_columns.columns = list(schema.id_names) or id_columns.columns
    ids, start, last = ids_to_array(id_columns), series["start"].to_numpy(), series["last"].to_numpy()
    series = series.with_columns(pl.Series("name", ids.tolist()))

    def describe(s: int) -> str:
        return f"{time_grid.times(last[s : s + 1])[0]} of series {ids[s].item()!r}"

    steps = time_grid.steps_between(start, last)
    if (off_grid := np.flatnonzero(steps == OFF_GRID)).size:
        issues.off_grid(schema.time, time_grid.frequency, off_grid, off_grid, describe)
    lengths = np.maximum(steps, 0) + 1
    report_absurd_gaps(rows, lengths, ids, time_grid.frequency, issues)
    for name in statics:
        varying = series.filter(pl.col(f"least {name}") != pl.col(f"greatest {name}"))
        if len(varying):
            ranges = varying.select("name", f"least {name}", f"greatest {name}").iter_rows()
            issues.varying_static(name, (f"{i!r} has {a!r} and {b!r}" for i, a, b in ranges), len(varying))
    if not allow_empty and not series["target"].all():
        issues.no_target_values(schema.targets, series.filter(~pl.col("target"))["name"].to_list())
    issues.raise_if_any()
    sorted_levels = {name: pl.Series(list(texts), dtype=pl.String).sort() for name, texts in levels.items()}
    return Panel(
        schema=complete_schema(schema, time_grid, id_columns),
        time_grid=time_grid,
        ids=ids,
        id_columns=id_columns,
        indptr=np.concatenate(([0], np.cumsum(lengths))),
        start=start,
        reals={},
        categories={},
        static_reals={n: series[f"least {n}"].cast(pl.Float64).to_numpy() for n in statics if n not in levels},
        static_categories={n: encode_levels(series[f"least {n}"], sorted_levels[n]) for n in statics if n in levels},
        levels={name: tuple(texts) for name, texts in sorted_levels.items()},
    )


# Second pass: the values that vary over time.


def write_values(table: ParquetTable, panel: Panel, folder: Path) -> None:
    """Write the columns that vary over time into their files, from the piece on at which an earlier call stopped."""
    progress = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    batch_rows = progress["batch_rows"]  # pieces follow from it
    values: dict[str, NDArray[Any]] = {
        name: np.load(folder / f"{STEMS[group]}_{k}.npy", mmap_mode="r+")
        for group in TYPES
        for k, name in enumerate(getattr(panel, group))
    }
    filled = np.load(folder / FILLED, mmap_mode="r+")
    step = progress["steps"]
    for rows in row_blocks(len(filled)):  # what was written after the last step is written again
        filled[rows] *= filled[rows] <= step
    levels = {name: pl.Series(panel.levels[name], dtype=pl.String) for name in panel.categories}
    pieces = sum(1 for _ in table.pieces(batch_rows))
    at_once = max(PIECES_AT_ONCE, -(-pieces // 250))  # steps are numbers of a byte
    done = progress["pieces"]
    for batch in read_batches(table, panel.schema, batch_rows, panel.time_grid, done):
        if batch.piece >= done + at_once:
            done, step = batch.piece, step + 1
            flush_arrays([*values.values(), filled])
            write_text_atomically(folder / PROGRESS, json.dumps({**progress, "pieces": done, "steps": step}))
        write_batch(batch, panel, levels, values, filled, step + 1)
        release(*values.values(), filled)
    for rows in row_blocks(len(filled)):
        gaps = filled[rows] == 0
        for name, array in values.items() if gaps.any() else ():
            array[rows][gaps] = np.nan if name in panel.reals else -1
        release(*values.values(), filled)
    flush_arrays(values.values())


def flush_arrays(arrays: Iterable[NDArray[Any]]) -> None:
    """Return when mapped files are on the disk."""
    for array in arrays:
        if isinstance(array, np.memmap):
            array.flush()


def write_batch(
    batch: TableBatch,
    panel: Panel,
    levels: dict[str, pl.Series],
    columns: dict[str, NDArray[Any]],
    filled: NDArray[np.uint8],
    step: int,
) -> None:
    """Write the values of a batch to their rows of the panel, which are marked as filled by a step."""
    frame, issues = batch.frame, batch.issues
    series = find_series(batch.ids, panel)[batch.run]
    steps = panel.time_grid.steps_between(panel.start[series], batch.ticks)
    if (series < 0).any() or (steps >= panel.lengths[series]).any():
        raise DataError.stream_changed("the table")
    positions = panel.indptr[series] + steps
    report_misplaced_rows(batch, steps, positions, filled, panel)
    first, last = int(positions[0]), int(positions[-1])
    in_order = last - first + 1 == len(positions) and bool((np.diff(positions) == 1).all())
    rows = slice(first, last + 1) if in_order else positions  # a slice is written several times as fast
    for name, column in columns.items():
        if name in panel.reals:
            values: NDArray[Any] = to_numbers(frame[name], issues, flags=name not in panel.schema.targets)
        else:
            values = encode_levels(to_text(frame[name], issues), levels[name])
        if not issues:
            column[rows] = values
    issues.raise_if_any()
    filled[rows] = step


def find_series(ids: pl.DataFrame, panel: Panel) -> IntArray:
    """Return the number of the series of each row of ids, [R]; -1 for one that is not in the panel."""
    assert panel.id_columns is not None
    numbers = panel.id_columns.with_columns(pl.int_range(pl.len()).alias(ID))
    found = ids.rename(dict(zip(ids.columns, panel.id_columns.columns, strict=True)))
    joined = found.join(numbers, on=found.columns, how="left", maintain_order="left")
    return joined[ID].fill_null(-1).to_numpy()


def report_misplaced_rows(
    batch: TableBatch, steps: IntArray, positions: IntArray, filled: NDArray[np.uint8], panel: Panel
) -> None:
    """Report rows off the grid, and rows with series and time of an earlier one, which may be in another batch."""

    def describe(i: int) -> str:
        time, ids = panel.time_grid.times(batch.ticks[i : i + 1])[0], batch.ids[int(batch.run[i])]
        return f"{time} of series {ids_to_array(ids)[0].item()!r} (row {i + batch.issues.offset})"

    schema, grid = panel.schema, panel.time_grid
    if (off_grid := np.flatnonzero(steps == OFF_GRID)).size:
        batch.issues.off_grid(schema.time, grid.frequency, off_grid, batch.run[off_grid], describe)
        batch.issues.raise_if_any()
    is_repeated = filled[positions] > 0
    if (np.diff(positions) <= 0).any():
        is_repeated |= ~pl.Series(positions).is_first_distinct().to_numpy()
    if (repeated := np.flatnonzero(is_repeated)).size:
        in_wall_time = grid.time_zone is None and not grid.step.is_local and not grid.step.is_integer
        change = find_clock_change(grid.times(batch.ticks[repeated])) if in_wall_time else None
        examples = map(describe, repeated.tolist())
        batch.issues.duplicates(schema.time, schema.id_names, examples, repeated.size, clock_change=change)
