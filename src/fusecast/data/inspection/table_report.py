"""Inspect: propose what the columns of a table mean. It proposes, the user decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.frequency import Frequency, canonical
from fusecast.data.frequency_inference import frequency_of, series_codes
from fusecast.data.inspection.role_inference import Proposal, UserChoices, propose
from fusecast.data.issues import Issues, counted
from fusecast.data.parsing import read_times
from fusecast.data.time_grid import OFF_GRID, TimeGrid, sorting
from fusecast.errors import DataError, SchemaError


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a table seems to be, in plain values."""

    rows: int
    columns: tuple[Proposal, ...]
    """Every column of the table in its own order, with the role and kind proposed and why."""
    id: str | None
    time: str | None
    targets: tuple[str, ...]
    static: tuple[str, ...]
    known: tuple[str, ...]
    observed: tuple[str, ...]
    categorical: tuple[str, ...]
    """Columns that should be declared categorical, those left out that are so by their type."""
    frequency: str | None
    time_zone: str | None
    num_series: int
    lengths: tuple[int, float, int] | None
    """Steps of the shortest, the median and the longest series, gaps filled."""
    span: tuple[str, str] | None
    """First and last time."""
    gaps: int
    """Steps without a row between the first and the last row of their series."""
    duplicates: int
    """Rows with the same series and time as another."""
    warnings: tuple[str, ...] = field(default=())
    """Remarks and problems, in words; empty for a table that can be used as proposed."""

    def arguments(self) -> dict[str, str]:
        """Give the options of ``fusecast fit`` that say what is proposed, commas between columns."""
        named = {
            "id": self.id or "",
            "time": self.time or "",
            "target": ",".join(self.targets),
            "static": ",".join(self.static),
            "known": ",".join(self.known),
            "observed": ",".join(self.observed),
            "categorical": ",".join(self.categorical),
            "frequency": self.frequency or "",
        }
        return {name: value for name, value in named.items() if value}


def inspect_table(
    frame: pl.DataFrame,
    *,
    id: str | None = None,  # noqa: A002 - the word of the schema
    time: str | None = None,
    target: str | Sequence[str] | None = None,
    static: Sequence[str] = (),
    known: Sequence[str] = (),
    observed: Sequence[str] = (),
    categorical: Sequence[str] = (),
    frequency: str | None = None,
) -> Inspection:
    """Propose a role and a kind for each column and look for what would stand in the way.

    What is given is taken as said; the rest is proposed from names, types and values. Problems with the rows become
    warnings here; :func:`fusecast.data.panel_builder.validate` raises them.

    Raises
    ------
    SchemaError
        When a column that is named is not in the table, or the frequency given is not understood.
    """
    targets = (target,) if isinstance(target, str) else tuple(target or ())
    for name in (
        *((id,) if id else ()),
        *((time,) if time else ()),
        *targets,
        *static,
        *known,
        *observed,
        *categorical,
    ):
        if name not in frame.columns:
            raise SchemaError.unknown_column(name, frame.columns)
    said = UserChoices(
        id=id, time=time, targets=targets, static=tuple(static), known=tuple(known), observed=tuple(observed),
        categorical=tuple(categorical),
    )  # fmt: skip
    proposals, warnings = propose(frame, said)

    def having(role: str) -> tuple[str, ...]:
        return tuple(p.name for p in proposals if p.role == role)

    id_, time_ = next(iter(having("id")), None), next(iter(having("time")), None)
    if time_ is None:
        warnings.append("no time column is found: name it with `time`")
    if not having("target"):
        warnings.append("no target column is found: name the column to forecast with `target`")
    layout = Layout(frame, id_, time_, canonical(frequency) if frequency else None, warnings)
    note_empty_tails(frame, layout, having("target"), warnings)
    textual = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)
    return Inspection(
        rows=len(frame),
        columns=tuple(proposals),
        id=id_,
        time=time_,
        targets=having("target"),
        static=having("static"),
        known=having("known"),
        observed=having("observed"),
        categorical=tuple(
            p.name
            for p in proposals
            if p.kind == "categorical" and (p.name in categorical or not isinstance(frame[p.name].dtype, textual))
        ),
        frequency=layout.frequency,
        time_zone=layout.time_zone,
        num_series=layout.num_series,
        lengths=layout.lengths,
        span=layout.span,
        gaps=layout.gaps,
        duplicates=layout.duplicates,
        warnings=tuple(warnings),
    )


class Layout:
    """Frequency, lengths and gaps of a table, as far as they can be told; what cannot becomes a warning."""

    def __init__(
        self, frame: pl.DataFrame, id_: str | None, time: str | None, frequency: str | None, warnings: list[str]
    ) -> None:
        self.frequency, self.time_zone = frequency, None
        self.lengths: tuple[int, float, int] | None = None
        self.span: tuple[str, str] | None = None
        self.gaps = self.duplicates = 0
        self.order: NDArray[np.int64] | None = None
        self.num_series = frame[id_].n_unique() if id_ is not None else 1
        if time is None or frame.is_empty():
            return
        try:
            problems = Issues()
            in_steps = None if frequency is None else Frequency.parse(frequency).is_integer
            times = read_times(frame[time], None, problems, counted=in_steps)
            problems.raise_if_any()
        except DataError as error:
            warnings.append(str(error))
            return
        assert times is not None
        present = (times.is_not_null() & frame[id_].is_not_null()) if id_ is not None else times.is_not_null()
        if not present.all():
            warnings.append(f"{counted(int((~present).sum()), 'row')} have no time or no id")
            times = times.filter(present)
        if times.is_empty():
            return
        series = series_codes(frame[id_].filter(present) if id_ is not None else None, len(times))
        self.time_zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
        self.span = (str(times.min()), str(times.max()))
        if self.frequency is None:
            try:
                self.frequency = frequency_of(times, series, time)
            except SchemaError as error:
                warnings.append(str(error))
                return
        self._measure(times, series, warnings)
        if present.all():
            self.order, self.series = sorting(series, times.to_physical().cast(pl.Int64).to_numpy()), series

    def _measure(self, times: pl.Series, series: NDArray[np.int32], warnings: list[str]) -> None:
        assert self.frequency is not None
        clock = TimeGrid.of(times, self.frequency)
        if clock.step.is_integer != times.dtype.is_integer():
            warnings.append(f"frequency {self.frequency} does not go with times of type {times.dtype}")
            return
        ticks = clock.ticks(times)
        pairs = pl.DataFrame({"series": series, "tick": ticks})
        kept = pairs.unique()
        self.duplicates = len(pairs) - len(kept)
        if self.duplicates:
            more = "" if self.num_series > 1 else "; is there a column that names the series?"
            warnings.append(f"{counted(self.duplicates, 'row')} repeat a time of their series{more}")
        kept = kept.with_columns(pl.col("tick").min().over("series").alias("start"))
        steps = clock.steps_between(kept["start"].to_numpy(), kept["tick"].to_numpy())
        off = int((steps == OFF_GRID).sum())
        if off:
            warnings.append(f"{counted(off, 'row')} lie off the {self.frequency} grid of their series")
        ends = kept.with_columns(step=steps).group_by("series").agg(length=pl.col("step").max() + 1)["length"]
        lengths = ends.to_numpy()
        self.lengths = (int(lengths.min()), float(np.median(lengths)), int(lengths.max()))
        self.gaps = int(lengths.sum()) - (len(kept) - off)


def note_empty_tails(frame: pl.DataFrame, layout: Layout, targets: tuple[str, ...], warnings: list[str]) -> None:
    """Warn of rows at the ends of series that have no target: they are often future rows."""
    if layout.order is None or not targets or not frame[targets[0]].null_count():
        return
    empty = frame[targets[0]].is_null().to_numpy()[layout.order]
    series = layout.series[layout.order]
    last = np.append(series[1:] != series[:-1], True)
    tails = int((empty & last).sum())
    if tails:
        warnings.append(
            f"target {targets[0]!r} is missing in the last row of {counted(tails, 'series')}: if these rows are the "
            "future, remove them here and give them to `fusecast predict` with --future"
        )
