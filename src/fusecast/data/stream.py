"""Stream: a Parquet file larger than memory becomes a memory-mapped Panel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.clock import OFF_GRID
from fusecast.data.columns import codes_of, to_numbers, to_text
from fusecast.data.panel import Panel
from fusecast.data.problems import EXAMPLES, Problems
from fusecast.data.storage import GROUPS, open_panel, write_array, write_header
from fusecast.data.survey import Place, place, survey
from fusecast.errors import DataError
from fusecast.schema import Kind, Role, Schema

BATCH = 250_000
"""Rows in memory at a time."""


def stream_parquet(path: str | Path, schema: Schema, folder: str | Path, *, batch: int = BATCH) -> Panel:
    """Check and lay out a Parquet file sorted by id and time, `batch` rows in memory at a time.

    Gives the panel that :func:`fusecast.data.validate.validate` gives, its columns mapped from files in `folder`.
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

    problems = Problems()
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
            problems = Problems(offset)
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
    here: Place, steps: NDArray[np.int64], places: NDArray[np.int64], panel: Panel, problems: Problems
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
