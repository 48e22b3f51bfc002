"""Infer the role and kind of each column of a table, with the reason as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from fusecast.data.issues import Issues
from fusecast.data.parsing import find_odd_cell, read_times

ID_NAMES = ("unique_id", "id", "series_id", "series", "item_id", "item", "seq_ix", "ts_id", "group", "key")
TIME_NAMES = ("ds", "timestamp", "datetime", "date", "time", "step_in_seq", "period", "month", "week", "day", "year")
TARGET_NAMES = ("y", "target", "value", "values", "sales", "demand", "volume", "count", "load", "price")
PLANNED_NAME = re.compile(
    r"holiday|event|promo|price|discount|calendar|weekend|working_?day|weekday|day_?of|month|week|hour|school|"
    r"easter|christmas|new_year|friday|_day$|memorial|fest|games|match|cup|open|campaign|forecast|planned|schedule",
    re.IGNORECASE,
)
MAX_CODES = 12
"""Distinct values up to which a column of whole numbers may hold codes of categories; more are measurements."""
USER_CHOICE = "chosen by the user"


@dataclass(frozen=True, kw_only=True)
class ColumnProposal:
    """The proposed role and kind of a column."""

    name: str
    dtype: str
    role: str
    """id, time, target, static, known, observed, or unused."""
    kind: str
    """real, categorical, or empty for ids, times and unused columns."""
    reason: str
    missing: int
    distinct: int


def infer_roles(
    frame: pl.DataFrame, choices: Mapping[str, str], categorical: Collection[str]
) -> tuple[list[ColumnProposal], list[str]]:
    """Return a proposal per column, and remarks on columns that only the user can decide about.

    `choices` are the roles that the user has chosen, by column, `categorical` the columns declared so.
    """
    time, time_reason = find_time(frame, choices)
    id_, id_reason = find_id(frame, choices, time)
    target, target_reason = find_target(frame, choices, {id_, time})
    inferred = {}
    for name, role, reason in ((time, "time", time_reason), (id_, "id", id_reason), (target, "target", target_reason)):
        if name is not None:
            inferred[name] = (role, reason)
    constant = find_constant_columns(frame, id_, [name for name in frame.columns if name not in inferred])
    proposals = []
    for column in frame.iter_columns():
        name = column.name
        distinct = column.n_unique() - (1 if column.null_count() else 0)
        if name in choices:
            role, reason = choices[name], USER_CHOICE
        elif name in inferred:
            role, reason = inferred[name]
        else:
            role, reason = infer_covariate_role(column, distinct, is_constant=name in constant)
        kind, kind_reason = "", ""
        if role not in ("id", "time", "unused"):
            kind, kind_reason = infer_kind(column, distinct, role, declared=name in categorical)
        proposals.append(
            ColumnProposal(
                name=name,
                dtype=str(column.dtype).partition("(")[0],
                role=role,
                kind=kind,
                reason=f"{reason}; {kind_reason}" if kind_reason else reason,
                missing=count_missing(column),
                distinct=distinct,
            )
        )
    planned = [p.name for p in proposals if p.role == "known" and p.name not in choices]
    return proposals, [remark_on_planned(planned)] if planned else []


def remark_on_planned(names: Sequence[str]) -> str:
    """Return what only the user can decide about columns that look like plans."""
    listed = ", ".join(repr(name) for name in names)
    which = f"column {listed} looks like a plan" if len(names) == 1 else f"columns {listed} look like plans"
    return (
        f"{which} or a calendar: keep in `known` only what will be known for the whole horizon, "
        "and move the rest to `observed`"
    )


def count_missing(column: pl.Series) -> int:
    """Count the cells without a value, NaN included."""
    return column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)


def find_time(frame: pl.DataFrame, choices: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the time column and the reason: as chosen, by type and name, by type, by name."""
    for name, role in choices.items():
        if role == "time":
            return name, USER_CHOICE
    free = [name for name in frame.columns if name not in choices]
    temporal = [name for name in free if frame[name].dtype in (pl.Date, pl.Datetime)]
    for name in match_names(free, TIME_NAMES):
        if name in temporal or (frame[name].dtype.is_integer() and name.lower() in TIME_NAMES[:6]):
            return name, "its name and type"
    if temporal:
        return temporal[0], "it holds times"
    for name in match_names(free, TIME_NAMES):
        if frame[name].dtype == pl.String and read_times(frame[name].head(1000), None, Issues()) is not None:
            return name, "its name, and its text can be read as times"
    named = match_names(free, TIME_NAMES[:6])
    return (named[0], "its name") if named else (None, "")


def find_id(frame: pl.DataFrame, choices: Mapping[str, str], time: str | None) -> tuple[str | None, str]:
    """Return the id column and the reason: as chosen, by name, or the one column that makes times unique."""
    for name, role in choices.items():
        if role == "id":
            return name, USER_CHOICE
    free = [name for name in frame.columns if name not in choices and name != time]
    for name in match_names(free, ID_NAMES):
        if not frame[name].dtype.is_float():
            return name, "its name"
    if time is None or not frame[time].drop_nulls().is_duplicated().any():
        return None, ""
    for name in free:
        if frame[name].dtype in (pl.String, pl.Categorical) and not frame.select(name, time).is_duplicated().any():
            return name, "text that repeats, and each time occurs once for each of its values"
    return None, ""


def find_target(frame: pl.DataFrame, choices: Mapping[str, str], keys: set[str | None]) -> tuple[str | None, str]:
    """Return the target and the reason: by name, or the only numeric column; None where the user has chosen."""
    if "target" in choices.values():
        return None, ""
    free = [column for column in frame.iter_columns() if column.name not in choices and column.name not in keys]
    numeric = [column.name for column in free if column.dtype.is_numeric()]
    if named := match_names(numeric, TARGET_NAMES):
        return named[0], "its name"
    return (numeric[0], "the only numeric column") if len(numeric) == 1 else (None, "")


def match_names(names: list[str], usual: tuple[str, ...]) -> list[str]:
    """Return the names that are among the usual ones, in the order of these."""
    return [name for word in usual for name in names if name.lower() == word]


def find_constant_columns(frame: pl.DataFrame, id_: str | None, names: list[str]) -> set[str]:
    """Return the columns with one value per series (missing cells aside), where there are several series."""
    if id_ is None or not names or frame[id_].n_unique() < 2:
        return set()
    plain = [name for name in names if not frame[name].dtype.is_nested()]
    counts = frame.group_by(id_).agg(pl.col(plain).drop_nulls().n_unique()).select(pl.col(plain).max())
    return {name for name in plain if (counts[name][0] or 0) <= 1}


def infer_covariate_role(column: pl.Series, distinct: int, *, is_constant: bool) -> tuple[str, str]:
    """Return the role, and the reason, of a column that is no id, time or target."""
    dtype = column.dtype
    if dtype.is_nested() or dtype.is_temporal() or dtype in (pl.Object, pl.Binary):
        return "unused", f"type {dtype} is neither a number nor a category"
    if (odd := find_odd_cell(column)) is not None:
        return "unused", f"numbers except {odd[0]!r} in row {odd[1]}: correct it, or declare the column categorical"
    if distinct <= 1:
        return "unused", "all its values are the same" if distinct else "it is empty"
    if is_constant:
        return "static", "one value within every series"
    if PLANNED_NAME.search(column.name):
        return "known", "its name is that of a plan or a calendar"
    return "observed", "it varies; whether its future is known cannot be inferred"


def infer_kind(column: pl.Series, distinct: int, role: str, *, declared: bool) -> tuple[str, str]:
    """Return the kind of a column, and the reason; `declared` categorical by the user or not."""
    dtype = column.dtype
    if declared:
        return "categorical", USER_CHOICE
    if role == "target":
        return "real", ""
    if dtype in (pl.String, pl.Boolean) or isinstance(dtype, (pl.Categorical, pl.Enum)):
        return "categorical", "text" if dtype != pl.Boolean else "yes or no"
    if dtype.is_integer() and distinct <= MAX_CODES and distinct * 2 < len(column):
        return "categorical", f"only {distinct} different whole numbers"
    return "real", ""
