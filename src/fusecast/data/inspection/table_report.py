"""Inspect a table: propose what its columns mean, and measure its series. The user decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.frequency import Frequency, canonical_frequency
from fusecast.data.frequency_inference import infer_frequency, number_series
from fusecast.data.inspection.role_inference import ColumnProposal, infer_roles
from fusecast.data.issues import Issues
from fusecast.data.parsing import read_times
from fusecast.data.time_grid import OFF_GRID, TimeGrid, sort_order
from fusecast.errors import DataError, SchemaError
from fusecast.errors.base import format_count

ROLES = ("id", "time", "target", "static", "known", "observed")


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The proposed meaning of a table and the measures of its series, as plain values."""

    rows: int
    columns: tuple[ColumnProposal, ...]
    """Every column of the table in its order, with the proposed role and kind and the reason."""
    id: str | None
    time: str | None
    targets: tuple[str, ...]
    static: tuple[str, ...]
    known: tuple[str, ...]
    observed: tuple[str, ...]
    categorical: tuple[str, ...]
    """Columns to declare categorical, without those whose type makes them categorical anyway."""
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
    """Rows with the same series and time as another row."""
    warnings: tuple[str, ...] = ()
    """Remarks and problems; empty for a table that can be used as proposed."""

    def __repr__(self) -> str:
        return f"Inspection({self.num_series} series, {self.rows} rows, targets={list(self.targets)})"

    def arguments(self) -> dict[str, str]:
        """Return the options of ``fusecast fit`` for this proposal, with commas between columns."""
        options = {
            "id": self.id or "",
            "time": self.time or "",
            "target": ",".join(self.targets),
            "static": ",".join(self.static),
            "known": ",".join(self.known),
            "observed": ",".join(self.observed),
            "categorical": ",".join(self.categorical),
            "frequency": self.frequency or "",
        }
        return {name: value for name, value in options.items() if value}


def inspect_table(
    frame: pl.DataFrame,
    *,
    id: str | None = None,  # noqa: A002 - the same name as in the schema
    time: str | None = None,
    target: str | Sequence[str] | None = None,
    static: Sequence[str] = (),
    known: Sequence[str] = (),
    observed: Sequence[str] = (),
    categorical: Sequence[str] = (),
    frequency: str | None = None,
) -> Inspection:
    """Propose a role and a kind for each column, and report what would prevent using the table.

    Arguments are taken as they are; the rest is inferred from names, types and values. Problems with the rows become
    warnings here; :func:`fusecast.data.panel_builder.build_panel` raises them.

    Raises
    ------
    SchemaError
        When a named column is not in the table, or the frequency is not understood.
    """
    targets = (target,) if isinstance(target, str) else tuple(target or ())
    keys = [name for name in (id, time) if name]
    for name in (*keys, *targets, *static, *known, *observed, *categorical):
        if name not in frame.columns:
            raise SchemaError.unknown_column(name, frame.columns)
    choices: dict[str, str] = {}
    for role, columns in (("target", targets), ("observed", observed), ("known", known), ("static", static)):
        choices |= dict.fromkeys(columns, role)
    choices |= {name: role for role, name in (("time", time), ("id", id)) if name}
    proposals, warnings = infer_roles(frame, choices, categorical)
    names = {role: tuple(p.name for p in proposals if p.role == role) for role in ROLES}
    id_, time_ = next(iter(names["id"]), None), next(iter(names["time"]), None)
    if time_ is None:
        warnings.append("no time column is found: name it with `time`")
    if not names["target"]:
        warnings.append("no target column is found: name the column to forecast with `target`")
    layout = Layout(
        num_series=frame[id_].n_unique() if id_ is not None else 1,
        frequency=canonical_frequency(frequency) if frequency else None,
    )
    if time_ is not None and not frame.is_empty():
        measure_layout(layout, frame, id_, time_, next(iter(names["target"]), None), warnings)
    textual = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)
    return Inspection(
        rows=len(frame),
        columns=tuple(proposals),
        id=id_,
        time=time_,
        targets=names["target"],
        static=names["static"],
        known=names["known"],
        observed=names["observed"],
        categorical=tuple(
            p.name
            for p in proposals
            if p.kind == "categorical" and (p.name in categorical or not isinstance(frame[p.name].dtype, textual))
        ),
        warnings=tuple(warnings),
        **vars(layout),
    )


@dataclass(kw_only=True)
class Layout:
    """The fields of an :class:`Inspection` about the series of a table, as far as they can be inferred."""

    num_series: int
    frequency: str | None
    time_zone: str | None = None
    lengths: tuple[int, float, int] | None = None
    span: tuple[str, str] | None = None
    gaps: int = 0
    duplicates: int = 0


def measure_layout(
    layout: Layout, frame: pl.DataFrame, id_: str | None, time: str, target: str | None, warnings: list[str]
) -> None:
    """Set the fields of a layout; what prevents it is added to `warnings`."""
    try:
        issues = Issues()
        counted = None if layout.frequency is None else Frequency.parse(layout.frequency).is_integer
        times = read_times(frame[time], None, issues, counted=counted)
        issues.raise_if_any()
    except DataError as error:
        warnings.append(str(error))
        return
    assert times is not None
    present = (times.is_not_null() & frame[id_].is_not_null()) if id_ is not None else times.is_not_null()
    if not present.all():
        warnings.append(f"{format_count(int((~present).sum()), 'row')} without a time or an id")
        times = times.filter(present)
    if times.is_empty():
        return
    series = number_series(frame[id_].filter(present) if id_ is not None else None, len(times))
    layout.time_zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
    layout.span = (str(times.min()), str(times.max()))
    if layout.frequency is None:
        try:
            layout.frequency = infer_frequency(times, series, time)
        except SchemaError as error:
            warnings.append(str(error))
            return
    measure_lengths(layout, times, series, layout.frequency, warnings)
    if present.all() and target is not None:
        warn_of_empty_tails(frame[target], times, series, warnings)


def measure_lengths(
    layout: Layout, times: pl.Series, series: NDArray[np.int32], frequency: str, warnings: list[str]
) -> None:
    """Set the lengths, gaps and duplicates of a layout."""
    time_grid = TimeGrid.from_times(times, frequency)
    if time_grid.step.is_integer != times.dtype.is_integer():
        warnings.append(f"frequency {frequency} does not match times of type {times.dtype}")
        return
    rows = pl.DataFrame({"series": series, "tick": time_grid.ticks(times)})
    unique = rows.unique()
    layout.duplicates = len(rows) - len(unique)
    if layout.duplicates:
        question = "" if layout.num_series > 1 else "; is there an id column?"
        warnings.append(f"{format_count(layout.duplicates, 'row')} with a time that its series already has{question}")
    unique = unique.with_columns(pl.col("tick").min().over("series").alias("start"))
    steps = time_grid.steps_between(unique["start"].to_numpy(), unique["tick"].to_numpy())
    off_grid = int((steps == OFF_GRID).sum())
    if off_grid:
        warnings.append(f"{format_count(off_grid, 'row')} off the {frequency} grid of their series")
    per_series = unique.with_columns(step=steps).group_by("series").agg(length=pl.col("step").max() + 1)
    lengths = per_series["length"].to_numpy()
    layout.lengths = (int(lengths.min()), float(np.median(lengths)), int(lengths.max()))
    layout.gaps = int(lengths.sum()) - (len(unique) - off_grid)


def warn_of_empty_tails(target: pl.Series, times: pl.Series, series: NDArray[np.int32], warnings: list[str]) -> None:
    """Warn of rows without a target at the ends of series: they are often future rows."""
    if not target.null_count():
        return
    order = sort_order(series, times.to_physical().cast(pl.Int64).to_numpy())
    empty, series = target.is_null().to_numpy()[order], series[order]
    is_last = np.append(series[1:] != series[:-1], True)
    tails = int((empty & is_last).sum())
    if tails:
        warnings.append(
            f"target {target.name!r} is missing in the last row of {format_count(tails, 'series')}: if these rows are "
            "the future, remove them here and pass them to `fusecast predict` with --future"
        )
