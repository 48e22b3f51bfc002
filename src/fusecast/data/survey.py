"""Survey: the first look at a table that comes in sorted batches: its series, their lengths, statics and levels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.clock import OFF_GRID, Clock
from fusecast.data.columns import codes_of, to_numbers, to_text
from fusecast.data.frequency import Frequency
from fusecast.data.grid import is_sorted
from fusecast.data.problems import EXAMPLES, Problems
from fusecast.data.times import read_times
from fusecast.data.validate import MOST_FILLING, agreed_clock, as_ids, first, id_column
from fusecast.errors import DataError
from fusecast.schema import Kind, Role, Schema


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What has to be known of a whole table before its values can be written."""

    clock: Clock
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
    clock: Clock


def place(frame: pl.DataFrame, schema: Schema, clock: Clock | None, problems: Problems) -> Place:
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
    clock: Clock | None = None
    previous: tuple[Any, int] | None = None
    month_end, offset = True, 0
    for frame in frames:
        problems = Problems(offset)
        here = place(frame, schema, clock, problems)
        clock = here.clock
        month_end = month_end and Clock.of(here.times, clock.frequency).month_end
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
    frame: pl.DataFrame, here: Place, schema: Schema, levels: dict[str, set[str]], problems: Problems
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


def joined(pieces: pl.DataFrame, clock: Clock, schema: Schema, levels: dict[str, set[str]], rows: int) -> Survey:
    """Join the runs of each series, one a batch at most, and check what can be said of whole series."""
    statics = schema.names(Role.STATIC)
    table = pieces.group_by("name", maintain_order=True).agg(
        pl.col("start").first(),
        pl.col("last").last(),
        pl.col("target").any(),
        *(pl.col(f"least {name}").min() for name in statics),
        *(pl.col(f"greatest {name}").max() for name in statics),
    )
    problems = Problems()
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
