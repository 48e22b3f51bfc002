"""Build a stored panel from a Parquet file larger than memory, in two passes over sorted row batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.frequency import Frequency
from fusecast.data.issues import EXAMPLES, Issues
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import MOST_FILLING, agreed_clock, as_ids, first, id_column
from fusecast.data.parsing import codes_of, read_times, to_numbers, to_text
from fusecast.data.schema import Kind, Role, Schema
from fusecast.data.time_grid import OFF_GRID, TimeGrid, is_sorted
from fusecast.errors import DataError
from fusecast.io.panel_store import GROUPS, open_panel, write_array, write_header

BATCH = 250_000
"""Rows in memory at a time."""


def stream_parquet(path: str | Path, schema: Schema, folder: str | Path, *, batch: int = BATCH) -> Panel:
    """Check and lay out a Parquet file sorted by id and time, `batch` rows in memory at a time.

    Gives the panel that :func:`fusecast.data.panel_builder.validate` gives, its columns mapped from files in `folder`.
    The file is read twice: for series, lengths, statics and the levels of categories; then for the values. Memory
    grows with series and levels, not with rows.

    Raises
    ------
    DataError
        When the file is missing or not sorted, its times are text, or rows break a rule of ``validate``; the
        problems of the first batch that has any are raised together.
    """
    source, target = Path(path), Path(folder)
    if not source.is_file():
        raise DataError.no_file(source)
    names = [*((schema.id,) if schema.id is not None else ()), schema.time, *(c.name for c in schema.columns)]
    check_columns(source, names)
    found = survey(batches(source, names, batch), schema, source)
    target.mkdir(parents=True, exist_ok=True)
    panel = Panel(
        schema=replace(schema, time_zone=found.clock.time_zone),
        clock=found.clock,
        ids=found.ids,
        indptr=found.indptr,
        start=found.start,
        reals={},
        categories={},
        static_reals={n: v for n, v in found.statics.items() if v.dtype == np.float64},
        static_categories={n: v for n, v in found.statics.items() if v.dtype == np.int32},
        levels=found.levels,
    )
    columns = {group: list(getattr(panel, group)) for group in GROUPS}
    moving = [column for column in schema.columns if column.role is not Role.STATIC]
    columns["reals"] = [c.name for c in moving if c.kind is Kind.REAL]
    columns["categories"] = [c.name for c in moving if c.kind is Kind.CATEGORICAL]
    write_values(batches(source, names, batch), panel, columns, target)
    for group in ("static_reals", "static_categories"):
        for k, values in enumerate(getattr(panel, group).values()):
            write_array(target / f"{GROUPS[group]}_{k}.npy", values)
    write_header(panel, target, columns)
    return open_panel(target)


def check_columns(source: Path, names: list[str]) -> None:
    """Raise if the file lacks columns."""
    import pyarrow.parquet as pq

    problems = Issues()
    try:
        present = pq.read_schema(source).names
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        raise DataError.unreadable_file(source, str(error).splitlines()[0]) from error
    for name in names:
        if name not in present:
            problems.missing_column(name, present)
    problems.raise_if_any()


def batches(source: Path, names: list[str], size: int) -> Iterator[pl.DataFrame]:
    """Read a Parquet file in batches of rows, some of its columns."""
    import pyarrow.parquet as pq

    # pre_buffer would keep every byte it has read until the file is closed
    with pq.ParquetFile(source, pre_buffer=False) as file:
        for part in file.iter_batches(batch_size=size, columns=names):
            frame = pl.from_arrow(part)
            assert isinstance(frame, pl.DataFrame)
            if len(frame):
                yield frame.select(names)


class ColumnFile:
    """A ``.npy`` file of known length that is written from front to back."""

    def __init__(self, path: Path, dtype: type[np.generic], rows: int, missing: float) -> None:
        self.path, self.partial = path, path.with_suffix(".partial")
        self.dtype, self.missing = np.dtype(dtype), missing
        self.file = self.partial.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (rows,)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def append(self, places: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Write values at places counted from the last row written; rows between are missing."""
        block = np.full(int(places[-1]) + 1, self.missing, dtype=self.dtype)
        block[places] = values
        self.file.write(block.data)

    def close(self) -> None:
        """Finish the file and give it its name."""
        self.file.close()
        self.partial.replace(self.path)


def write_values(frames: Iterator[pl.DataFrame], panel: Panel, columns: dict[str, list[str]], folder: Path) -> None:
    """Write the columns that change over time, batch by batch."""
    levels = {name: pl.Series(panel.levels[name], dtype=pl.String) for name in columns["categories"]}
    with ExitStack() as open_files:
        files: dict[str, ColumnFile] = {}
        for group, dtype, missing in (("reals", np.float64, np.nan), ("categories", np.int32, -1)):
            for k, name in enumerate(columns[group]):
                files[name] = ColumnFile(folder / f"{GROUPS[group]}_{k}.npy", dtype, panel.num_rows, missing)
                open_files.callback(files[name].file.close)
        written = offset = 0
        series = 0  # of the first run of the batch
        previous = None
        for frame in frames:
            problems = Issues(offset)
            here = place(frame, panel.schema, panel.clock, problems)
            series += int(previous is not None and here.names[0] != previous)
            numbers = series + here.run
            steps = panel.clock.steps_between(panel.start[numbers], here.ticks)
            places = panel.indptr[numbers] + steps - written
            note_misplaced_rows(here, steps, places, panel, problems)
            values: dict[str, NDArray[Any]] = {name: to_numbers(frame[name], problems) for name in columns["reals"]}
            for name in columns["categories"]:
                values[name] = codes_of(to_text(frame[name], problems), levels[name])
            problems.raise_if_any()
            for name, file in files.items():
                file.append(places, values[name])
            written += int(places[-1]) + 1
            offset += len(frame)
            series, previous = int(numbers[-1]), here.names[-1]
        for file in files.values():
            file.close()


def note_misplaced_rows(
    here: Place, steps: NDArray[np.int64], places: NDArray[np.int64], panel: Panel, problems: Issues
) -> None:
    """Note rows off the grid and rows that share a place, with each other or with the last row of the batch before."""

    def words(at: int) -> str:
        time, name = panel.clock.times(here.ticks[at : at + 1])[0], here.names[int(here.run[at])]
        return f"{time} of series {name!r} (row {at + problems.offset})"

    schema = panel.schema
    if (off := np.flatnonzero(steps == OFF_GRID)).size:
        series = len(np.unique(here.run[off]))
        problems.off_grid(schema.time, panel.clock.frequency, [words(i) for i in off[:EXAMPLES]], off.size, series)
        return
    if (again := np.flatnonzero(np.diff(places, prepend=-1) <= 0)).size:
        problems.duplicates(schema.time, schema.id, [words(i) for i in again[:EXAMPLES]], again.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What has to be known of a whole table before its values can be written."""

    clock: TimeGrid
    ids: NDArray[np.generic]  # [S]
    start: NDArray[np.int64]  # [S]
    indptr: NDArray[np.int64]  # [S + 1]
    statics: dict[str, NDArray[Any]]  # [S] float64 values or int32 codes
    levels: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where the rows of a sorted batch belong: the runs of rows of one series, and the tick of each row."""

    names: pl.Series  # [R] id of each run
    run: NDArray[np.int32]  # [n]
    ticks: NDArray[np.int64]  # [n]
    times: pl.Series  # [n]
    clock: TimeGrid


def place(frame: pl.DataFrame, schema: Schema, clock: TimeGrid | None, problems: Issues) -> Place:
    """Read the keys of a batch; raise where a row has none."""
    column = frame[schema.time]
    if column.dtype == pl.String:  # each batch might take day and month another way
        problems.unreadable_type(schema.time, column.dtype, "times while streaming: parse it and write the file anew")
        problems.raise_if_any()
    times = read_times(column, schema.time_zone, problems, counted=Frequency.parse(schema.frequency).is_integer)
    if times is not None:
        clock = agreed_clock(times, schema, clock, problems)
        if times.null_count():
            problems.null_key(schema.time, "time", first(times.is_null()), times.null_count())
    ids = id_column(frame, schema.id, problems)
    problems.raise_if_any()
    assert times is not None
    assert clock is not None
    assert ids is not None
    run = ids.rle_id().cast(pl.Int32)
    names = ids.filter(run.is_first_distinct())
    # text of their own: a part of a column of text keeps the text of all its rows
    names = pl.Series(names.name, names.to_list(), dtype=names.dtype)
    return Place(names=names, run=run.to_numpy(), ticks=clock.ticks(times), times=times, clock=clock)


def survey(frames: Iterable[pl.DataFrame], schema: Schema, source: Path) -> Survey:
    """Look through all batches of a table; memory grows with series and levels only.

    Raises
    ------
    DataError
        When rows are not sorted, keys are missing, statics vary, a series has no target values, or gaps are absurd.
    """
    levels: dict[str, set[str]] = {c.name: set() for c in schema.columns if c.kind is Kind.CATEGORICAL}
    pieces: list[pl.DataFrame] = []
    clock: TimeGrid | None = None
    previous: tuple[Any, int] | None = None
    month_end, offset = True, 0
    for frame in frames:
        problems = Issues(offset)
        here = place(frame, schema, clock, problems)
        clock = here.clock
        month_end = month_end and TimeGrid.of(here.times, clock.frequency).month_end
        refuse_disorder(here, previous, schema, source, offset)
        previous = (here.names[-1], int(here.ticks[-1]))
        pieces.append(summary(frame, here, schema, levels, problems))
        problems.raise_if_any()
        offset += len(frame)
    if clock is None:
        raise DataError.empty_table(f"file {source}")
    clock = replace(clock, month_end=month_end)
    return joined(pl.concat(pieces), clock, schema, levels, offset)


def refuse_disorder(here: Place, previous: tuple[Any, int] | None, schema: Schema, source: Path, offset: int) -> None:
    """Raise if a row comes before the one above it."""
    if previous is not None and (here.names[0], int(here.ticks[0])) < previous:
        raise DataError.not_sorted(source, schema.id, schema.time, offset)
    falling = (here.names.shift(-1) < here.names).fill_null(value=False)
    if falling.any():
        row = int(np.flatnonzero(here.run == first(falling) + 1)[0])
        raise DataError.not_sorted(source, schema.id, schema.time, offset + row)
    if not is_sorted(here.run, here.ticks):
        back = (np.diff(here.ticks) < 0) & (np.diff(here.run) == 0)
        raise DataError.not_sorted(source, schema.id, schema.time, offset + int(back.argmax()) + 1)


def summary(
    frame: pl.DataFrame, here: Place, schema: Schema, levels: dict[str, set[str]], problems: Issues
) -> pl.DataFrame:
    """Sum up each run of a batch: first and last tick, least and greatest of each static, whether a target is there."""
    columns: dict[str, Any] = {"run": here.run, "tick": here.ticks}
    targets = [np.isfinite(to_numbers(frame[name], problems)) for name in schema.targets]
    columns["target"] = np.logical_or.reduce(targets)
    statics = schema.names(Role.STATIC)
    for name, seen in levels.items():
        text = to_text(frame[name], problems)
        seen.update(text.drop_nulls().unique())
        if name in statics:
            columns[f"static {name}"] = text
    for name in schema.names(Role.STATIC, Kind.REAL):
        columns[f"static {name}"] = pl.Series(to_numbers(frame[name], problems), nan_to_null=True)
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
        .with_columns(name=here.names)
        .drop("run")
    )


def joined(pieces: pl.DataFrame, clock: TimeGrid, schema: Schema, levels: dict[str, set[str]], rows: int) -> Survey:
    """Join the runs of each series, one a batch at most, and check what can be said of whole series."""
    statics = schema.names(Role.STATIC)
    table = pieces.group_by("name", maintain_order=True).agg(
        pl.col("start").first(),
        pl.col("last").last(),
        pl.col("target").any(),
        *(pl.col(f"least {name}").min() for name in statics),
        *(pl.col(f"greatest {name}").max() for name in statics),
    )
    problems = Issues()
    names = table["name"]
    start, last = table["start"].to_numpy(), table["last"].to_numpy()
    steps = clock.steps_between(start, last)
    if (off := np.flatnonzero(steps == OFF_GRID)).size:
        examples = [f"{clock.times(last[i : i + 1])[0]} of series {names[int(i)]!r}" for i in off[:EXAMPLES]]
        problems.off_grid(schema.time, clock.frequency, examples, off.size, off.size)
    indptr = np.concatenate(([0], np.cumsum(np.maximum(steps, 0) + 1)))
    if indptr[-1] > MOST_FILLING * rows:
        worst = int(steps.argmax())
        problems.absurd_gaps(clock.frequency, rows, int(indptr[-1]), repr(names[worst]), int(steps[worst]) + 1)
    for name in statics:
        varying = table.filter(pl.col(f"least {name}") != pl.col(f"greatest {name}"))
        if len(varying):
            few = varying.head(EXAMPLES).select("name", f"least {name}", f"greatest {name}").rows()
            problems.varying_static(name, [f"{i!r} has {a!r} and {b!r}" for i, a, b in few], len(varying))
    empty = table.filter(~pl.col("target"))
    if len(empty):
        problems.no_target_values(schema.targets, [repr(i) for i in empty["name"].head(EXAMPLES)], len(empty))
    problems.raise_if_any()
    ordered = {name: tuple(pl.Series(list(each), dtype=pl.String).sort()) for name, each in levels.items()}
    values: dict[str, NDArray[Any]] = {}
    for name in statics:
        least = table[f"least {name}"]
        if name in levels:
            values[name] = codes_of(least, pl.Series(ordered[name], dtype=pl.String))
        else:
            values[name] = least.cast(pl.Float64).to_numpy()
    return Survey(clock=clock, ids=as_ids(names), start=start, indptr=indptr, statics=values, levels=ordered)
