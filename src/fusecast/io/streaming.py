"""Build a stored panel from a Parquet file larger than memory, in two passes over its sorted rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import IntArray
from fusecast.data.issues import Issues
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import MAX_FILL_FACTOR, ids_to_array, read_id_column, read_key_times
from fusecast.data.parsing import encode_levels, first_true, to_numbers, to_text
from fusecast.data.schema import Kind, Role, Schema
from fusecast.data.time_grid import OFF_GRID, TimeGrid, is_sorted
from fusecast.errors import DataError
from fusecast.errors.base import MAX_EXAMPLES
from fusecast.io.atomic import replace_file
from fusecast.io.panel_store import STEMS, open_panel, write_array, write_header
from fusecast.io.tables import refuse_duplicates

BATCH_ROWS = 250_000
"""Rows in memory at a time."""
BYTES_PER_CELL = 16
"""Memory of a cell while a table becomes a panel: its value in the table and in the panel."""


def stream_parquet(path: str | Path, schema: Schema, folder: str | Path, *, batch_rows: int = BATCH_ROWS) -> Panel:
    """Check a sorted Parquet file and store it as a panel, with `batch_rows` rows in memory at a time.

    Returns the same panel as :func:`fusecast.data.panel_builder.build_panel`, its columns mapped from files in
    `folder`. The file is read twice: for series, lengths, statics and the levels of categories; then for the values.
    Memory grows with series and levels, not with rows.

    Parameters
    ----------
    path
        A Parquet file whose rows are sorted by id and time (ids as numbers or by code point, each ascending) and
        whose time column holds dates, times or whole numbers.
    schema
        What its columns mean; :func:`read_first_rows` returns rows to build it from.
    folder
        Where the panel is stored, see :mod:`fusecast.io.panel_store`; created where it does not exist.
    batch_rows
        Rows in memory at a time.

    Raises
    ------
    DataError
        When the file is missing or not sorted, its times are text, or rows break a rule of ``build_panel``; the
        problems of the first batch that has any are raised together.
    """
    path, folder = Path(path), Path(folder)
    keys = [schema.time] if schema.id is None else [schema.id, schema.time]
    names = [*keys, *(c.name for c in schema.columns)]
    check_columns(path, names)
    panel = survey_table(read_batches(path, names, batch_rows), schema, path)
    columns = {group: list(getattr(panel, group)) for group in STEMS}
    varying = [column for column in schema.columns if column.role is not Role.STATIC]
    columns["reals"] = [c.name for c in varying if c.kind is Kind.REAL]
    columns["categories"] = [c.name for c in varying if c.kind is Kind.CATEGORICAL]
    write_values(read_batches(path, names, batch_rows), panel, columns, folder)
    for group in ("static_reals", "static_categories"):
        for k, values in enumerate(getattr(panel, group).values()):
            write_array(folder / f"{STEMS[group]}_{k}.npy", values)
    write_header(panel, folder, columns)
    return open_panel(folder)


def read_first_rows(path: str | Path, rows: int = BATCH_ROWS) -> pl.DataFrame:
    """Return the first rows of a Parquet file, for :func:`fusecast.data.schema.make_schema`."""
    check_columns(Path(path), [])
    return pl.read_parquet(path, n_rows=rows)


def estimate_memory(path: str | Path) -> int:
    """Estimate the bytes that a Parquet file needs in memory while it becomes a panel, from its metadata alone."""
    import pyarrow.parquet as pq

    check_columns(Path(path), [])
    metadata = pq.read_metadata(path)
    return int(metadata.num_rows * metadata.num_columns * BYTES_PER_CELL)


def check_columns(path: Path, names: list[str]) -> None:
    """Raise if the file is missing, is no Parquet file, has two columns of one name, or lacks columns."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError.no_file(path)
    issues = Issues()
    try:
        present = pq.read_schema(path).names
    except (OSError, ValueError) as error:  # the errors of pyarrow are subclasses of these
        raise DataError.unreadable_file(path, str(error).splitlines()[0]) from error
    refuse_duplicates(present)
    for name in names:
        if name not in present:
            issues.missing_column(name, present)
    issues.raise_if_any()


def read_batches(path: Path, names: list[str], size: int) -> Iterator[pl.DataFrame]:
    """Read some columns of a Parquet file in batches of rows."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:  # pre_buffer would keep all bytes until the file is closed
        for batch in file.iter_batches(batch_size=size, columns=names):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            if len(frame):
                yield frame.select(names)


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchKeys:
    """Keys of the rows of a sorted batch: its runs of rows of one series, and the time of each row."""

    names: pl.Series  # [R] id of each run
    run: NDArray[np.int32]  # [n]
    ticks: IntArray  # [n]
    times: pl.Series  # [n]
    time_grid: TimeGrid


def read_keys(frame: pl.DataFrame, schema: Schema, earlier: TimeGrid | None, issues: Issues) -> BatchKeys:
    """Return the keys of a batch; raise where a row has none."""
    column = frame[schema.time]
    if column.dtype == pl.String:  # batches might be parsed by different formats
        issues.unreadable_type(schema.time, column.dtype, "times while streaming: parse it, and write the file again")
        issues.raise_if_any()
    keyed_times = read_key_times(column, schema, earlier, issues)
    ids = read_id_column(frame, schema.id, issues)
    issues.raise_if_any()
    assert keyed_times is not None
    assert ids is not None
    times, time_grid = keyed_times
    run = ids.rle_id().cast(pl.Int32)
    names = ids.filter(run.is_first_distinct())
    names = pl.Series(names.name, names.to_list(), dtype=names.dtype)  # a copy: a slice keeps the text of all rows
    return BatchKeys(names=names, run=run.to_numpy(), ticks=time_grid.ticks(times), times=times, time_grid=time_grid)


# First pass: series, lengths, statics and levels.


def survey_table(frames: Iterable[pl.DataFrame], schema: Schema, path: Path) -> Panel:
    """Return the panel of a table without its columns that vary over time; memory grows with series and levels only.

    Raises
    ------
    DataError
        When rows are not sorted, keys are missing, statics vary, a series has no target values, or gaps are too wide.
    """
    levels: dict[str, set[str]] = {c.name: set() for c in schema.columns if c.kind is Kind.CATEGORICAL}
    runs: list[pl.DataFrame] = []
    time_grid: TimeGrid | None = None
    previous: tuple[Any, int] | None = None
    month_end, offset = True, 0
    for frame in frames:
        issues = Issues(offset)
        keys = read_keys(frame, schema, time_grid, issues)
        time_grid = keys.time_grid
        month_end = month_end and TimeGrid.from_times(keys.times, time_grid.frequency).month_end
        refuse_unsorted_rows(keys, previous, schema, path, offset)
        previous = (keys.names[-1], int(keys.ticks[-1]))
        runs.append(summarize_runs(frame, keys, schema, levels, issues))
        issues.raise_if_any()
        offset += len(frame)
    if time_grid is None:
        raise DataError.empty_table(f"file {path}")
    return combine_runs(pl.concat(runs), replace(time_grid, month_end=month_end), schema, levels, offset)


def refuse_unsorted_rows(
    keys: BatchKeys, previous: tuple[Any, int] | None, schema: Schema, path: Path, offset: int
) -> None:
    """Raise if a row has an earlier id, or an earlier time of the same id, than the row before."""
    row = None
    if previous is not None and (keys.names[0], int(keys.ticks[0])) < previous:
        row = 0
    elif (falling := (keys.names.shift(-1) < keys.names).fill_null(value=False)).any():
        row = int(np.flatnonzero(keys.run == first_true(falling) + 1)[0])
    elif not is_sorted(keys.run, keys.ticks):
        row = int(((np.diff(keys.ticks) < 0) & (np.diff(keys.run) == 0)).argmax()) + 1
    if row is not None:
        raise DataError.not_sorted(path, schema.id, schema.time, offset + row)


def summarize_runs(
    frame: pl.DataFrame, keys: BatchKeys, schema: Schema, levels: dict[str, set[str]], issues: Issues
) -> pl.DataFrame:
    """Return a row per run of a batch: first and last tick, least and greatest statics, and if it has a target."""
    columns: dict[str, Any] = {"run": keys.run, "tick": keys.ticks}
    targets = [np.isfinite(to_numbers(frame[name], issues)) for name in schema.targets]
    columns["target"] = np.logical_or.reduce(targets)
    statics = schema.names(Role.STATIC)
    for name, known in levels.items():
        text = to_text(frame[name], issues)
        known.update(text.drop_nulls().unique())
        if name in statics:
            columns[f"static {name}"] = text
    for name in schema.names(Role.STATIC, Kind.REAL):
        columns[f"static {name}"] = pl.Series(to_numbers(frame[name], issues), nan_to_null=True)
    return (
        pl.DataFrame(columns)
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("tick").first().alias("start"),
            pl.col("tick").last().alias("last"),
            pl.col("target").any(),
            *(pl.col(f"static {name}").min().alias(f"least {name}") for name in statics),
            *(pl.col(f"static {name}").max().alias(f"greatest {name}") for name in statics),
        )
        .with_columns(name=keys.names)
        .drop("run")
    )


def combine_runs(
    runs: pl.DataFrame, time_grid: TimeGrid, schema: Schema, levels: dict[str, set[str]], rows: int
) -> Panel:
    """Combine the runs of each series, at most one per batch, and check the series."""
    statics = schema.names(Role.STATIC)
    series = runs.group_by("name", maintain_order=True).agg(
        pl.col("start").first(),
        pl.col("last").last(),
        pl.col("target").any(),
        *(pl.col(f"least {name}").min() for name in statics),
        *(pl.col(f"greatest {name}").max() for name in statics),
    )
    issues = Issues()
    names = series["name"]
    start, last = series["start"].to_numpy(), series["last"].to_numpy()
    steps = time_grid.steps_between(start, last)
    if (off_grid := np.flatnonzero(steps == OFF_GRID)).size:
        examples = [
            f"{time_grid.times(last[i : i + 1])[0]} of series {names[int(i)]!r}" for i in off_grid[:MAX_EXAMPLES]
        ]
        issues.off_grid(schema.time, time_grid.frequency, examples, off_grid.size, off_grid.size)
    indptr = np.concatenate(([0], np.cumsum(np.maximum(steps, 0) + 1)))
    if indptr[-1] > MAX_FILL_FACTOR * rows:
        longest = int(steps.argmax())
        issues.absurd_gaps(time_grid.frequency, rows, int(indptr[-1]), repr(names[longest]), int(steps[longest]) + 1)
    for name in statics:
        varying = series.filter(pl.col(f"least {name}") != pl.col(f"greatest {name}"))
        if len(varying):
            few = varying.head(MAX_EXAMPLES).select("name", f"least {name}", f"greatest {name}").rows()
            issues.varying_static(name, [f"{i!r} has {a!r} and {b!r}" for i, a, b in few], len(varying))
    empty = series.filter(~pl.col("target"))
    if len(empty):
        issues.no_target_values(schema.targets, [repr(i) for i in empty["name"].head(MAX_EXAMPLES)], len(empty))
    issues.raise_if_any()
    sorted_levels = {name: pl.Series(list(texts), dtype=pl.String).sort() for name, texts in levels.items()}
    static_reals = {n: series[f"least {n}"].cast(pl.Float64).to_numpy() for n in statics if n not in levels}
    static_categories = {n: encode_levels(series[f"least {n}"], sorted_levels[n]) for n in statics if n in levels}
    return Panel(
        schema=replace(schema, time_zone=time_grid.time_zone),
        time_grid=time_grid,
        ids=ids_to_array(names),
        indptr=indptr,
        start=start,
        reals={},
        categories={},
        static_reals=static_reals,
        static_categories=static_categories,
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


def write_values(frames: Iterator[pl.DataFrame], panel: Panel, columns: dict[str, list[str]], folder: Path) -> None:
    """Write the columns that vary over time, batch by batch; after an error no file is left."""
    levels = {name: pl.Series(panel.levels[name], dtype=pl.String) for name in columns["categories"]}
    with ExitStack() as stack:
        writers: dict[str, ColumnWriter] = {}
        for group, dtype, missing in (("reals", np.float64, np.nan), ("categories", np.int32, -1)):
            for k, name in enumerate(columns[group]):
                temporary = stack.enter_context(replace_file(folder / f"{STEMS[group]}_{k}.npy"))
                file = stack.enter_context(temporary.open("wb"))
                writers[name] = ColumnWriter(file, dtype, panel.num_rows, missing)
        written = offset = 0
        first_series = 0  # of the first run of the batch
        previous = None
        for frame in frames:
            issues = Issues(offset)
            keys = read_keys(frame, panel.schema, panel.time_grid, issues)
            first_series += int(previous is not None and keys.names[0] != previous)
            series = first_series + keys.run
            steps = panel.time_grid.steps_between(panel.start[series], keys.ticks)
            positions = panel.indptr[series] + steps - written
            report_misplaced_rows(keys, steps, positions, panel, issues)
            values: dict[str, NDArray[Any]] = {name: to_numbers(frame[name], issues) for name in columns["reals"]}
            for name in columns["categories"]:
                values[name] = encode_levels(to_text(frame[name], issues), levels[name])
            issues.raise_if_any()
            for name, writer in writers.items():
                writer.append(positions, values[name])
            written += int(positions[-1]) + 1
            offset += len(frame)
            first_series, previous = int(series[-1]), keys.names[-1]


def report_misplaced_rows(keys: BatchKeys, steps: IntArray, positions: IntArray, panel: Panel, issues: Issues) -> None:
    """Report rows off the grid, and rows with the time of the row before, which may be in the batch before."""

    def describe(i: int) -> str:
        time, name = panel.time_grid.times(keys.ticks[i : i + 1])[0], keys.names[int(keys.run[i])]
        return f"{time} of series {name!r} (row {i + issues.offset})"

    schema = panel.schema
    if (off_grid := np.flatnonzero(steps == OFF_GRID)).size:
        num_series = len(np.unique(keys.run[off_grid]))
        examples = [describe(i) for i in off_grid[:MAX_EXAMPLES]]
        issues.off_grid(schema.time, panel.time_grid.frequency, examples, off_grid.size, num_series)
        return
    if (repeated := np.flatnonzero(np.diff(positions, prepend=-1) <= 0)).size:
        examples = [describe(i) for i in repeated[:MAX_EXAMPLES]]
        issues.duplicates(schema.time, schema.id, examples, repeated.size)
