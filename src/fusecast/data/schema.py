"""Schema: which column of a table is the id, the time, a target or a covariate, and of which kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self
from zoneinfo import available_timezones

import polars as pl

from fusecast.data.frequency import Frequency, canonical_frequency
from fusecast.data.frequency_inference import check_filled, find_exchanged, infer_frequency, keep_rows_with_keys
from fusecast.data.ids.columns import id_names
from fusecast.data.issues import Issues
from fusecast.data.parsing import (
    are_years,
    find_clock_change,
    find_odd_cell,
    find_unix_unit,
    holds_numbers,
    holds_padded_numbers,
    read_times,
)
from fusecast.errors import DataNote, DataWarning, SchemaError
from fusecast.errors.base import warn


class Role(StrEnum):
    """When the values of a column are known, and what for."""

    TARGET = "target"  # to be forecast; known up to the cutoff
    OBSERVED = "observed"  # known up to the cutoff only
    KNOWN = "known"  # known in the future too: prices, holidays, plans
    STATIC = "static"  # one value per series


class Kind(StrEnum):
    """How the values of a column are read."""

    REAL = "real"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One input column of a table."""

    name: str
    role: Role
    kind: Kind = Kind.REAL


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The meaning of the columns of a table of time series, with one row per series and step."""

    columns: tuple[Column, ...]
    frequency: str
    """Length of a step: a count and a unit of s, m, h, d, w, mo, q, y, or i for integer steps ("30m", "1mo", "1i")."""
    id: str | tuple[str, ...] | None = "unique_id"
    """Column that names the series, or several that do so together; None for a table of one series."""
    time: str = "ds"
    time_zone: str | None = None
    """Zone of the time column and of calendar features. None for naive timestamps and integer steps."""
    weight: str | None = None
    """Column that says how much each row counts in training; None where all count alike. It is no input by that."""
    month_day: int | None = None
    """Day of the month of all monthly, quarterly or yearly times, 31 for the last one; None where they share none."""
    id_types: tuple[str, ...] = ()
    """Types of the id columns of the fitted table, as polars names them; () where they are not known."""

    def __post_init__(self) -> None:
        names = id_names(self.id)
        object.__setattr__(self, "id", names if len(names) > 1 else "".join(names) or None)
        object.__setattr__(self, "id_types", tuple(self.id_types))
        object.__setattr__(self, "columns", tuple(self.columns))
        roles_by_name: dict[str, list[str]] = {self.time: ["time"]}
        for name in names:
            roles_by_name.setdefault(name, []).append("id")
        for column in self.columns:
            roles_by_name.setdefault(column.name, []).append(str(column.role))
            if column.name == self.weight and column.kind is Kind.CATEGORICAL:
                raise SchemaError.categorical_weight(column.name)
        if self.weight in (*names, self.time) and self.weight is not None:
            roles_by_name[self.weight].append("weight")
        for name, roles in roles_by_name.items():
            if len(roles) > 1 and not (len(names) > 1 and roles == ["id", "static"]):
                raise SchemaError.column_twice(name, roles)
        if not self.targets:
            raise SchemaError.no_target()

    def __repr__(self) -> str:
        roles = ", ".join(f"{role}={len(names)}" for role in Role if (names := self.names(role)))
        return f"Schema(id={self.id!r}, time={self.time!r}, frequency={self.frequency!r}, {roles})"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the columns to forecast."""
        return self.names(Role.TARGET)

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the id columns; none where the table is one series."""
        return id_names(self.id)

    @property
    def all_names(self) -> tuple[str, ...]:
        """Names of the id columns, the time column and the input columns, each once."""
        return tuple(dict.fromkeys((*self.id_names, self.time, *(c.name for c in self.columns))))

    def find_weight(self, available: Collection[str]) -> tuple[str, ...]:
        """Return the name of the column of weights, where it is among those of a table, and no input."""
        if self.weight is None or self.weight in self.all_names or self.weight not in available:
            return ()
        return (self.weight,)

    def names(self, role: Role, kind: Kind | None = None) -> tuple[str, ...]:
        """Return the names of the columns of one role (and kind), in the order declared."""
        return tuple(c.name for c in self.columns if c.role == role and (kind is None or c.kind == kind))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and YAML."""
        return {
            "id": list(self.id) if isinstance(self.id, tuple) else self.id,
            "time": self.time,
            "frequency": self.frequency,
            "time_zone": self.time_zone,
            **({} if self.weight is None else {"weight": self.weight}),
            **({} if self.month_day is None else {"month_day": self.month_day}),
            **({"id_types": list(self.id_types)} if self.id_types else {}),
            "columns": [{"name": c.name, "role": str(c.role), "kind": str(c.kind)} for c in self.columns],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build a schema from the values of :meth:`to_dict`."""
        columns = tuple(
            Column(name=c["name"], role=Role(c["role"]), kind=Kind(c.get("kind", "real"))) for c in values["columns"]
        )
        return cls(**{**values, "columns": columns})


def make_schema(
    frame: pl.DataFrame,
    *,
    id: str | Sequence[str] | None = "unique_id",  # noqa: A002 - the same name as in the schema
    time: str = "ds",
    targets: Sequence[str] = ("y",),
    static: Sequence[str] = (),
    known: Sequence[str] = (),
    observed: Sequence[str] = (),
    categorical: Collection[str] = (),
    weight: str | None = None,
    frequency: str | None = None,
    time_zone: str | None = None,
) -> Schema:
    """Build the schema of a table from the names of its columns; other columns are not used.

    Text and boolean columns are categorical even if not listed, but numbers written as text are numbers, unless they
    are codes padded with zeros; a DataWarning names both. The frequency is inferred where it is None. Times are read in
    `time_zone` where it is set, else in the zone of their column. `id` may be several columns, or
    None for a table of one series.

    Raise a SchemaError when a column is not in the table or has two roles, a categorical one has no role, a target is
    categorical, the frequency is not understood or cannot be inferred, the time zone does not exist, a column that is
    not listed as categorical mixes numbers with text, or a table without id has several series; a DataError when the
    times cannot be read.
    """
    roles = {Role.TARGET: targets, Role.STATIC: static, Role.KNOWN: known, Role.OBSERVED: observed}
    keys = (*id_names(id), time)
    declared = [name for names in roles.values() for name in names]
    for name in (*keys, *declared, *categorical, *(() if weight is None else (weight,))):
        if name not in frame.columns:
            raise SchemaError.unknown_column(name, frame.columns)
    for name in categorical:
        if name not in declared:
            raise SchemaError.not_declared(name, declared)
        if name in targets:
            raise SchemaError.categorical_target(name)
    columns = tuple(
        Column(name=name, role=role, kind=infer_kind(frame[name], role, declared=name in categorical))
        for role, names in roles.items()
        for name in names
    )
    schema = Schema(
        columns=columns, frequency=frequency or "1i", id=keys[:-1], time=time, weight=weight
    )  # checks the roles

    numbers: list[str] = []
    codes: list[str] = []
    for column in columns:
        if column.name in categorical or column.role is Role.TARGET:
            continue
        if (odd := find_odd_cell(frame[column.name])) is not None:
            raise SchemaError.numbers_and_text(column.name, *odd)
        if holds_numbers(frame[column.name]):
            (numbers if column.kind is Kind.REAL else codes).append(column.name)
    if numbers or codes:
        warn(DataWarning.numbers_as_text(numbers, codes))
    if time_zone is not None and time_zone not in available_timezones():
        raise SchemaError.unknown_zone(time_zone, available_timezones())

    issues = Issues()
    counted = None if frequency is None else Frequency.parse(frequency).is_integer
    ids = frame.select(keys[:-1]) if len(keys) > 1 else None
    times = read_times(frame[time], time_zone, issues, counted=counted, ids=ids)
    issues.raise_if_any()
    assert times is not None
    if ids is None and times.drop_nulls().is_duplicated().any():
        texts = [name for name in frame.columns if name != time and frame[name].dtype == pl.String]
        raise SchemaError.several_series(time, texts, find_clock_change(times.filter(times.is_duplicated())))
    if frequency is None:
        times, series = keep_rows_with_keys(times, ids)
        if (row := find_exchanged(times, series)) is not None:
            issues.exchanged_dates(times, row)
            issues.raise_if_any()
        frequency = infer_frequency(times, series, time)
        check_filled(times, series, frequency, time)
        if are_years(times):
            warn(DataNote.years_as_steps(time, times.min(), times.max(), frequency))
        elif unit := find_unix_unit(times):
            warn(DataNote.unix_times_as_steps(time, unit, frequency))
    zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
    return replace(schema, frequency=canonical_frequency(frequency), time_zone=zone)


def infer_kind(column: pl.Series, role: Role, *, declared: bool) -> Kind:
    """Return the kind of a column: categorical where it is `declared` so, or its values leave no choice."""
    textual = column.dtype in (pl.String, pl.Boolean) or isinstance(column.dtype, (pl.Categorical, pl.Enum))
    if declared:
        return Kind.CATEGORICAL
    if role is Role.TARGET or not textual or (holds_numbers(column) and not holds_padded_numbers(column)):
        return Kind.REAL
    return Kind.CATEGORICAL
