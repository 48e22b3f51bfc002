"""Build a stored panel from a Parquet file larger than memory, in two passes over its sorted rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from fusecast.data.arrays import IntArray
from fusecast.data.ids.columns import ids_to_array, read_id_columns, to_sortable
from fusecast.data.issues import Issues, first_true
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import complete_schema, read_key_times, report_absurd_gaps
from fusecast.data.parsing import encode_levels, to_numbers, to_text
from fusecast.data.schema import Kind, Role, Schema
from fusecast.data.time_grid import OFF_GRID, TimeGrid, days_of_months, find_month_day, is_sorted
from fusecast.errors import DataError
from fusecast.io.panel_store import STEMS, open_panel, replace_panel, write_panel
from fusecast.io.tables import refuse_duplicates

BATCH_ROWS = 250_000
"""Rows in memory at a time."""
ID = "id "
"""What the columns of ids are called while runs are combined, with their numbers."""
BYTES_PER_CELL = 16
"""Memory of a cell while a table becomes a panel: its value in the table and in the panel."""


def stream_parquet(
    path: str | Path, schema: Schema, folder: str | Path, *, batch_rows: int = BATCH_ROWS, allow_empty: bool = False
) -> Panel:
    """Check a sorted Parquet file and store it as a panel in `folder`, with `batch_rows` rows in memory at a time.

    Return the same panel as :func:`fusecast.data.panel_builder.build_panel`, its columns mapped from files. The rows
    of the file must be sorted by id and time (ids as numbers or by code point, each ascending), and its time column
    hold dates, times or whole numbers; :func:`read_first_rows` returns rows to build the schema from. The file is
    read twice: for series, lengths, statics and the levels of categories; then for the values. Memory grows with
    series and levels, not with rows.

    Raise a DataError when the file is missing or not sorted, its times are text, or rows break a rule of
    ``build_panel``; the problems of the first batch that has any are raised together.
    """
    path, folder = Path(path), Path(folder)
    check_columns(path, schema.all_names)
    panel = survey_table(read_batches(path, schema, batch_rows), schema, path, allow_empty)
    varying = [column for column in schema.columns if column.role is not Role.STATIC]
    columns = {
        "reals": [c.name for c in varying if c.kind is Kind.REAL],
        "categories": [c.name for c in varying if c.kind is Kind.CATEGORICAL],
    }
    with replace_panel(folder) as scratch:
        write_values(read_batches(path, panel.schema, batch_rows, panel.time_grid), panel, columns, scratch)
        write_panel(panel, scratch, stored=columns)
    return open_panel(folder)


def read_first_rows(path: str | Path, rows: int = BATCH_ROWS) -> pl.DataFrame:
    """Return the first rows of a Parquet file, for :func:`fusecast.data.schema.make_schema`."""
    check_columns(Path(path), ())
    return pl.read_parquet(path, n_rows=rows)


def estimate_memory(path: str | Path) -> int:
    """Estimate the bytes that a Parquet file needs in memory while it becomes a panel, from its metadata alone."""
    import pyarrow.parquet as pq

    check_columns(Path(path), ())
    metadata = pq.read_metadata(path)
    return int(metadata.num_rows * metadata.num_columns * BYTES_PER_CELL)


def count_rows(path: str | Path) -> int:
    """Return the number of rows of a Parquet file, from its metadata alone."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def check_columns(path: Path, names: Iterable[str]) -> None:
    """Raise if the file is missing, is no Parquet file, has two columns of one name, or lacks columns."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError.no_file(path)
    try:
        present = pq.read_schema(path).names
    except (OSError, ValueError) as error:  # the errors of pyarrow are subclasses of these
        raise DataError.unreadable_file(path, str(error).splitlines()[0]) from error
    refuse_duplicates(present)
    issues = Issues()
    issues.missing_columns(names, present)
    issues.raise_if_any()


@dataclass(frozen=True, kw_only=True, eq=False)
class TableBatch:
    """Neighbouring rows of a sorted table; a run is the rows of one series in the batch."""

    frame: pl.DataFrame  # [n]
    ids: pl.DataFrame  # [R] ids of each run
    run: NDArray[np.int32]  # [n]
    times: pl.Series  # [n]
    ticks: IntArray  # [n]
    time_grid: TimeGrid
    issues: Issues  # with the number of rows before the batch


def read_batches(path: Path, schema: Schema, rows: int, time_grid: TimeGrid | None = None) -> Iterator[TableBatch]:
    """Read the columns of a schema in batches of rows, with a time grid or that of the first; raise if keys are bad."""
    import pyarrow.parquet as pq

    columns, offset = list(schema.all_names), 0
    with pq.ParquetFile(path, pre_buffer=False) as file:  # pre_buffer would keep all bytes until the file is closed
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            frame = pl.DataFrame(batch).select(columns)
            if frame.is_empty():
                continue
            issues = Issues(offset)
            if frame[schema.time].dtype == pl.String:  # batches might be parsed by different formats
                issues.unreadable_type(frame[schema.time], "times while streaming: parse it, and write the file again")
                issues.raise_if_any()
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
            )
            offset += len(frame)


def _copy(ids: pl.DataFrame) -> pl.DataFrame:
    """Return a copy of ids; a slice would keep the text of all rows."""
    return pl.DataFrame([pl.Series(column.name, column.to_list(), dtype=column.dtype) for column in ids.iter_columns()])


# First pass: series, lengths, statics and levels.


def survey_table(batches: Iterable[TableBatch], schema: Schema, path: Path, allow_empty: bool = False) -> Panel:
    """Return the panel of a table without its columns that vary over time; memory grows with series and levels only.

    Raise a DataError when rows are not sorted, statics vary, a series has no target values, or gaps are too wide.
    """
    levels: dict[str, set[str]] = {c.name: set() for c in schema.columns if c.kind is Kind.CATEGORICAL}
    runs: list[pl.DataFrame] = []
    time_grid: TimeGrid | None = None
    previous: tuple[Any, ...] | None = None
    days: set[tuple[int, int]] = set()
    rows = 0
    for batch in batches:
        time_grid = batch.time_grid
        if time_grid.step.months:
            days |= days_of_months(batch.times)
        refuse_unsorted_rows(batch, previous, schema, path)
        previous = (*_sortable(batch.ids[-1:]).row(0), int(batch.ticks[-1]))
        runs.append(summarize_runs(batch, schema, levels))
        batch.issues.raise_if_any()
        rows += len(batch.frame)
    if time_grid is None:
        raise DataError.empty_table(f"file {path}")
    if time_grid.step.months:
        time_grid = replace(time_grid, month_day=find_month_day(days, schema.month_day))
    return combine_runs(pl.concat(runs), time_grid, schema, levels, rows, allow_empty)


def _sortable(ids: pl.DataFrame) -> pl.DataFrame:
    """Return ids as text and numbers that sort as they do."""
    return pl.DataFrame([to_sortable(column) for column in ids.iter_columns()])


def refuse_unsorted_rows(batch: TableBatch, previous: tuple[Any, ...] | None, schema: Schema, path: Path) -> None:
    """Raise if a row has an earlier id, or an earlier time of the same id, than the row before."""
    row, ids = None, _sortable(batch.ids)
    falling, same = (pl.repeat(value, len(ids), eager=True) for value in (False, True))
    for column in ids.iter_columns():
        falling |= same & (column.shift(-1) < column).fill_null(value=False)
        same &= (column.shift(-1) == column).fill_null(value=False)
    if previous is not None and (*ids.row(0), int(batch.ticks[0])) < previous:
        row = 0
    elif falling.any():
        row = int(np.flatnonzero(batch.run == first_true(falling) + 1)[0])
    elif not is_sorted(batch.run, batch.ticks):
        row = int(((np.diff(batch.ticks) < 0) & (np.diff(batch.run) == 0)).argmax()) + 1
    if row is not None:
        raise DataError.not_sorted(path, schema.id_names, schema.time, batch.issues.offset + row)


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
    return aggregate_by(pl.DataFrame(rows), "run").drop("run").with_columns(ids)


def aggregate_by(rows: pl.DataFrame, key: str | pl.Expr) -> pl.DataFrame:
    """Return a row per run or series: first and last tick, least and greatest statics, and if it has a target."""
    return rows.group_by(key, maintain_order=True).agg(
        pl.col("start").first(),
        pl.col("last").last(),
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


class ColumnWriter:
    """Writes a ``.npy`` file of known length from front to back."""

    def __init__(self, file: BinaryIO, dtype: type[np.generic], rows: int, missing: float) -> None:
        self.file, self.dtype, self.missing = file, np.dtype(dtype), missing
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (rows,)}
        np.lib.format.write_array_header_1_0(file, header)

    def append(self, positions: IntArray, values: NDArray[Any]) -> None:
        """Write values at positions counted from the last row written; rows between are missing."""
        block = np.full(int(positions[-1]) + 1, self.missing, dtype=self.dtype)
        block[positions] = values
        self.file.write(block.data)


def write_values(batches: Iterable[TableBatch], panel: Panel, columns: dict[str, list[str]], folder: Path) -> None:
    """Write the columns that vary over time, batch by batch."""
    levels = {name: pl.Series(panel.levels[name], dtype=pl.String) for name in columns["categories"]}
    with ExitStack() as stack:
        writers: dict[str, ColumnWriter] = {}
        for group, dtype, missing in (("reals", np.float64, np.nan), ("categories", np.int32, -1)):
            for k, name in enumerate(columns[group]):
                file = stack.enter_context((folder / f"{STEMS[group]}_{k}.npy").open("wb"))
                writers[name] = ColumnWriter(file, dtype, panel.num_rows, missing)
        written = 0
        first_series = 0  # of the first run of the batch
        previous = None
        for batch in batches:
            frame, issues = batch.frame, batch.issues
            first_series += int(previous is not None and batch.ids.row(0) != previous)
            series = first_series + batch.run
            steps = panel.time_grid.steps_between(panel.start[series], batch.ticks)
            positions = panel.indptr[series] + steps - written
            report_misplaced_rows(batch, steps, positions, panel)
            values: dict[str, NDArray[Any]] = {
                name: to_numbers(frame[name], issues, flags=name not in panel.schema.targets)
                for name in columns["reals"]
            }
            for name in columns["categories"]:
                values[name] = encode_levels(to_text(frame[name], issues), levels[name])
            issues.raise_if_any()
            for name, writer in writers.items():
                writer.append(positions, values[name])
            written += int(positions[-1]) + 1
            first_series, previous = int(series[-1]), batch.ids.row(-1)


def report_misplaced_rows(batch: TableBatch, steps: IntArray, positions: IntArray, panel: Panel) -> None:
    """Report rows off the grid, and rows with the time of the row before, which may be in the batch before."""

    def describe(i: int) -> str:
        time, ids = panel.time_grid.times(batch.ticks[i : i + 1])[0], batch.ids[int(batch.run[i])]
        return f"{time} of series {ids_to_array(ids)[0].item()!r} (row {i + batch.issues.offset})"

    schema = panel.schema
    if (off_grid := np.flatnonzero(steps == OFF_GRID)).size:
        batch.issues.off_grid(schema.time, panel.time_grid.frequency, off_grid, batch.run[off_grid], describe)
    elif (repeated := np.flatnonzero(np.diff(positions, prepend=-1) <= 0)).size:
        batch.issues.duplicates(schema.time, schema.id_names, map(describe, repeated.tolist()), repeated.size)
