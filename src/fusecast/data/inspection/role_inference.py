"""Propose: a role and a kind for a column, and the reason in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from fusecast.data.issues import Issues
from fusecast.data.parsing import odd_among_numbers, read_times

ID_NAMES = ("unique_id", "id", "series_id", "series", "item_id", "item", "seq_ix", "ts_id", "group", "key")
TIME_NAMES = ("ds", "timestamp", "datetime", "date", "time", "step_in_seq", "period", "month", "week", "day", "year")
TARGET_NAMES = ("y", "target", "value", "values", "sales", "demand", "volume", "count", "load", "price")
PLANNED = re.compile(
    r"holiday|event|promo|price|discount|calendar|weekend|working_?day|weekday|day_?of|month|week|hour|school|"
    r"easter|christmas|new_year|friday|_day$|memorial|fest|games|match|cup|open|campaign|forecast|planned|schedule",
    re.IGNORECASE,
)
FEW = 12
"""Whole numbers of at most this many values may be codes of categories; more are measures."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What a column seems to be."""

    name: str
    dtype: str
    role: str
    """id, time, target, static, known, observed, or unused."""
    kind: str
    """real, categorical, or empty for ids, times and columns without use."""
    reason: str
    missing: int
    distinct: int


@dataclass(frozen=True, kw_only=True)
class UserChoices:
    """What the user has already decided."""

    id: str | None
    time: str | None
    targets: tuple[str, ...]
    static: tuple[str, ...]
    known: tuple[str, ...]
    observed: tuple[str, ...]
    categorical: tuple[str, ...]

    def role(self, name: str) -> str | None:
        """Role that the user gave a column."""
        roles = {"static": self.static, "known": self.known, "observed": self.observed, "target": self.targets}
        if name in (self.id, self.time):
            return "id" if name == self.id else "time"
        return next((role for role, names in roles.items() if name in names), None)


def propose(frame: pl.DataFrame, said: UserChoices) -> tuple[list[Proposal], list[str]]:
    """Give a proposal a column, and remarks on those that only the user can decide."""
    keys: dict[str, tuple[str, str]] = {}
    time, why_time = find_time(frame, said)
    if time is not None:
        keys[time] = ("time", why_time)
    id_, why_id = find_id(frame, said, time)
    if id_ is not None:
        keys[id_] = ("id", why_id)
    target, why_target = find_target(frame, said, set(keys))
    if target is not None:
        keys[target] = ("target", why_target)
    constant = constant_columns(frame, id_, [name for name in frame.columns if name not in keys])
    planned: list[str] = []
    proposals = []
    for column in frame.iter_columns():
        name, given = column.name, said.role(column.name)
        distinct = column.n_unique() - (1 if column.null_count() else 0)
        if given is not None:
            role, reason = given, "as you say"
        elif name in keys:
            role, reason = keys[name]
        else:
            role, reason = covariate_role(column, distinct, is_constant=name in constant)
        kind, why_kind = ("", "") if role in ("id", "time", "unused") else kind_of(column, distinct, role, said)
        if role == "known" and given is None:
            planned.append(name)
        proposals.append(
            Proposal(
                name=name,
                dtype=str(column.dtype).partition("(")[0],
                role=role,
                kind=kind,
                reason=f"{reason}; {why_kind}" if why_kind else reason,
                missing=missing_in(column),
                distinct=distinct,
            )
        )
    return proposals, [planned_remark(planned)] if planned else []


def planned_remark(names: Sequence[str]) -> str:
    """Say what only the user can decide about columns that look like plans."""
    listed = ", ".join(repr(name) for name in names)
    which = f"column {listed} looks like a plan" if len(names) == 1 else f"columns {listed} look like plans"
    return (
        f"{which} or a calendar: keep in `known` only what you will know for the whole horizon, "
        "and move the rest to `observed`"
    )


def missing_in(column: pl.Series) -> int:
    """Cells without a value, NaN counted in."""
    return column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)


def find_time(frame: pl.DataFrame, said: UserChoices) -> tuple[str | None, str]:
    """Choose the time column: as said, by type and name, by type, by name."""
    if said.time is not None:
        return said.time, "as you say"
    free = [name for name in frame.columns if said.role(name) is None]
    temporal = [name for name in free if frame[name].dtype in (pl.Date, pl.Datetime)]
    for name in by_name(free, TIME_NAMES):
        if name in temporal or (frame[name].dtype.is_integer() and name.lower() in TIME_NAMES[:6]):
            return name, "its name, and its type fits"
    if temporal:
        return temporal[0], "it holds times"
    for name in by_name(free, TIME_NAMES):
        if frame[name].dtype == pl.String and read_times(frame[name].head(1000), None, Issues()) is not None:
            return name, "its name, and its text can be read as times"
    named = by_name(free, TIME_NAMES[:6])
    return (named[0], "its name") if named else (None, "")


def find_id(frame: pl.DataFrame, said: UserChoices, time: str | None) -> tuple[str | None, str]:
    """Choose the id column: as said, by name, or the one column that makes times unique."""
    if said.id is not None:
        return said.id, "as you say"
    free = [name for name in frame.columns if said.role(name) is None and name != time]
    for name in by_name(free, ID_NAMES):
        if not frame[name].dtype.is_float():
            return name, "its name"
    if time is None or not frame[time].drop_nulls().is_duplicated().any():
        return None, ""
    for name in free:
        if frame[name].dtype in (pl.String, pl.Categorical) and not frame.select(name, time).is_duplicated().any():
            return name, "text that repeats, and with it each time comes once"
    return None, ""


def find_target(frame: pl.DataFrame, said: UserChoices, taken: set[str]) -> tuple[str | None, str]:
    """Choose the target: as said, by name, or the only numeric column."""
    if said.targets:
        return None, ""
    numeric = [c.name for c in frame.iter_columns() if c.dtype.is_numeric() and said.role(c.name) is None]
    numeric = [name for name in numeric if name not in taken]
    if named := by_name(numeric, TARGET_NAMES):
        return named[0], "its name"
    return (numeric[0], "the only numeric column") if len(numeric) == 1 else (None, "")


def by_name(names: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Those of the names that are wanted, in the order wanted."""
    return [name for word in wanted for name in names if name.lower() == word]


def constant_columns(frame: pl.DataFrame, id_: str | None, names: list[str]) -> set[str]:
    """Columns with one value a series (missing cells aside), where there are several series."""
    if id_ is None or not names or frame[id_].n_unique() < 2:
        return set()
    plain = [name for name in names if not frame[name].dtype.is_nested()]
    counts = frame.group_by(id_).agg(pl.col(plain).drop_nulls().n_unique()).select(pl.col(plain).max())
    return {name for name in plain if (counts[name][0] or 0) <= 1}


def covariate_role(column: pl.Series, distinct: int, *, is_constant: bool) -> tuple[str, str]:
    """Propose the role of a column that is no id, time or target."""
    dtype = column.dtype
    if dtype.is_nested() or dtype.is_temporal() or dtype in (pl.Object, pl.Binary):
        return "unused", f"type {dtype} is neither a number nor a category"
    if (odd := odd_among_numbers(column)) is not None:
        return "unused", f"numbers, but for {odd[0]!r} in row {odd[1]}: mend it, or declare it categorical"
    if distinct <= 1:
        return "unused", "it has one value throughout" if distinct else "it is empty"
    if is_constant:
        return "static", "one value within every series"
    if PLANNED.search(column.name):
        return "known", "its name sounds like a plan or a calendar"
    return "observed", "it varies; whether its future is known cannot be seen"


def kind_of(column: pl.Series, distinct: int, role: str, said: UserChoices) -> tuple[str, str]:
    """Propose the kind of a column."""
    dtype = column.dtype
    if column.name in said.categorical:
        return "categorical", "as you say"
    if role == "target":
        return "real", ""
    if dtype in (pl.String, pl.Boolean) or isinstance(dtype, (pl.Categorical, pl.Enum)):
        return "categorical", "text" if dtype != pl.Boolean else "yes or no"
    if dtype.is_integer() and distinct <= FEW and distinct * 2 < len(column):
        return "categorical", f"{distinct} whole numbers only"
    return "real", ""
