"""Inspect a table: propose the role and kind of each column with the reason, and measure its series. The user decides.

Nothing is raised for problems of the rows: they become warnings, and
:func:`fusecast.data.panel_builder.build_panel` raises them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.frequency import Frequency, canonical_frequency, format_weekdays
from fusecast.data.frequency_inference import check_filled, find_exchanged, infer_frequency, keep_rows_with_keys
from fusecast.data.ids.columns import id_names
from fusecast.data.ids.search import find_ids, match_names
from fusecast.data.issues import Issues
from fusecast.data.parsing import (
    are_years,
    find_odd_cell,
    holds_booleans,
    holds_numbers,
    holds_padded_numbers,
    read_times,
)
from fusecast.data.time_grid import OFF_GRID, TimeGrid
from fusecast.errors import DataError, SchemaError
from fusecast.errors.base import format_count

TIME_NAMES = ("ds", "timestamp", "datetime", "date", "time", "step_in_seq")
PART_NAMES = ("period", "quarter", "month", "week", "day", "year")
"""Names of columns of times, or of parts of them, which are functions of the calendar."""
TARGET_NAMES = ("y", "target", "value", "values", "sales", "demand", "volume", "count", "load", "price")
PLANNED_NAME = re.compile(
    r"holiday|event|promo|price|discount|calendar|weekend|working_?day|weekday|day_?of|month|week|hour|school|"
    r"easter|christmas|new_year|friday|_day$|memorial|fest|games|match|cup|open|campaign|forecast|planned|schedule",
    re.IGNORECASE,
)
MAX_CODES = 12
"""Distinct values up to which a column of whole numbers may hold codes of categories; more are measurements."""
USER_CHOICE = "chosen by the user"
OF_CALENDAR = "a function of"

QUICK_ROWS = 2_000
"""Rows that are looked at first; most columns contradict every fact there."""

Roles = dict[str, tuple[str, str]]
"""Name of a column -> its role and the reason."""


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


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The proposed meaning of a table and the measures of its series, as plain values."""

    rows: int
    columns: tuple[ColumnProposal, ...]
    """Every column of the table in its order, with the proposed role and kind and the reason."""
    id: str | tuple[str, ...] | None
    time: str | None
    targets: tuple[str, ...]
    static: tuple[str, ...]
    known: tuple[str, ...]
    observed: tuple[str, ...]
    categorical: tuple[str, ...]
    """Columns to declare categorical, without those whose type makes them categorical anyway."""
    num_series: int
    frequency: str | None = None
    time_zone: str | None = None
    lengths: tuple[int, float, int] | None = None
    """Steps of the shortest, the median and the longest series, gaps filled."""
    span: tuple[str, str] | None = None
    """First and last time."""
    gaps: int = 0
    """Steps without a row between the first and the last row of their series."""
    duplicates: int = 0
    """Rows with the same series and time as another row."""
    future_steps: int = 0
    """Rows after the last target of all series, at most in a series: `fit` takes them as the steps to forecast."""
    warnings: tuple[str, ...] = ()
    """Remarks and problems; empty for a table that can be used as proposed."""

    def __repr__(self) -> str:
        return f"Inspection({self.num_series} series, {self.rows} rows, targets={list(self.targets)})"

    def arguments(self) -> dict[str, str]:
        """Return the options of ``fusecast fit`` for this proposal, with commas between columns."""
        options = {"id": self.id, "time": self.time, "target": self.targets, "static": self.static}
        options |= {"known": self.known, "observed": self.observed, "categorical": self.categorical}
        options["frequency"] = self.frequency
        return {name: ",".join(id_names(value)) for name, value in options.items() if value}


def inspect_table(
    frame: pl.DataFrame,
    *,
    id: str | Sequence[str] | None = None,  # noqa: A002 - the same name as in the schema
    time: str | None = None,
    target: str | Sequence[str] | None = None,
    static: Sequence[str] = (),
    known: Sequence[str] = (),
    observed: Sequence[str] = (),
    categorical: Sequence[str] = (),
    frequency: str | None = None,
) -> Inspection:
    """Propose a role and a kind for each column, and report what would prevent using the table.

    Arguments are taken as they are; the rest is inferred from names, types and values. Raise a SchemaError when a
    named column is not in the table, or the frequency is not understood.
    """
    targets = (target,) if isinstance(target, str) else tuple(target or ())
    choices: dict[str, str] = {}
    for role, names in (("target", targets), ("observed", observed), ("known", known), ("static", static)):
        choices |= dict.fromkeys(names, role)
    choices |= dict.fromkeys(id_names(time), "time") | dict.fromkeys(id_names(id), "id")
    for name in (*choices, *categorical):
        if name not in frame.columns:
            raise SchemaError.unknown_column(name, frame.columns)
    proposals, warnings = infer_roles(frame, choices, categorical)
    columns: dict[str, Any] = {
        role: tuple(p.name for p in proposals if p.role == role)
        for role in ("id", "time", "target", "static", "known", "observed")
    }
    time_, target_ = (next(iter(columns.pop(role)), None) for role in ("time", "target"))
    ids = id_names(id) or columns.pop("id")
    columns["id"] = ids if len(ids) > 1 else next(iter(ids), None)
    if len(ids) > 1 and not static:
        columns["static"] = (*find_categories(frame, ids), *columns["static"])
    if time_ is None:
        warnings.append("no time column is found: name it with `time`")
    if target_ is None:
        wide = "" if ids else "; where columns are series, name all of them, or write a row for each series and step"
        warnings.append(f"no target column is found: name the column to forecast with `target`{wide}")
    measures: dict[str, Any] = {
        "num_series": frame.select(ids).n_unique() if ids else 1,
        "frequency": canonical_frequency(frequency) if frequency else None,
    }
    if time_ is not None and not frame.is_empty():
        measures |= measure_series(frame, ids, time_, target_, measures["frequency"], warnings)
    textual = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)
    return Inspection(
        rows=len(frame),
        columns=tuple(proposals),
        time=time_,
        targets=tuple(p.name for p in proposals if p.role == "target"),
        categorical=tuple(
            p.name
            for p in proposals
            if p.kind == "categorical" and (p.name in categorical or not isinstance(frame[p.name].dtype, textual))
        ),
        warnings=tuple(warnings),
        **columns,
        **measures,
    )


# Roles and kinds of columns.


def infer_roles(
    frame: pl.DataFrame, choices: Mapping[str, str], categorical: Collection[str]
) -> tuple[list[ColumnProposal], list[str]]:
    """Return a proposal per column, and remarks on columns that only the user can decide about.

    `choices` are the roles that the user has chosen, by column, `categorical` the columns declared so.
    """
    roles: Roles = {name: (role, USER_CHOICE) for name, role in choices.items()}
    if "time" not in choices.values():
        roles |= find_time(frame.drop(roles))
    time = next((name for name, (role, _) in roles.items() if role == "time"), None)
    if "id" not in choices.values():
        free = frame.drop(*roles, *match_names(frame.columns, TARGET_NAMES))
        roles |= find_ids(free, None if time is None else frame[time])
    ids = [name for name, (role, _) in roles.items() if role == "id"]
    constant = find_constant_columns(frame, ids, [name for name in frame.columns if name not in roles])
    if "target" not in choices.values():
        roles |= find_target(frame.drop(roles), constant)
    times = None if time is None else read_times(frame[time], None, Issues())
    proposals = []
    for column in frame.iter_columns():
        name, is_constant = column.name, column.name in constant
        distinct = 0 if column.dtype == pl.Object else column.n_unique() - (1 if column.null_count() else 0)
        role, reason = roles.get(name) or infer_covariate_role(column, distinct, is_constant=is_constant)
        if role in ("known", "observed") and name not in roles and times is not None:
            fact = find_calendar_fact(times, column)
            if fact is not None:
                role, reason = "known", f"{OF_CALENDAR} {fact.words} in every row"
        kind = ""
        if role not in ("id", "time", "unused"):
            kind, kind_reason = infer_kind(column, distinct, role, declared=name in categorical)
            reason = f"{reason}; {kind_reason}" if kind_reason else reason
        dtype = str(column.dtype).partition("(")[0]
        missing = column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)
        proposals.append(
            ColumnProposal(
                name=name, dtype=dtype, role=role, kind=kind, reason=reason, missing=missing, distinct=distinct
            )
        )
    planned = [
        repr(p.name)
        for p in proposals
        if p.role == "known" and p.name not in choices and not p.reason.startswith(OF_CALENDAR)
    ]
    if not planned:
        return proposals, []
    which = f"column {planned[0]} looks like a plan"
    if len(planned) > 1:
        which = f"columns {', '.join(planned)} look like plans"
    advice = "keep in `known` only what will be known for the whole horizon, and move the rest to `observed`"
    return proposals, [f"{which} or a calendar: {advice}"]


def find_time(free: pl.DataFrame) -> Roles:
    """Return the time column by type and name, by type, or by name."""
    temporal = [name for name in free.columns if free[name].dtype in (pl.Date, pl.Datetime)]
    usual = match_names(free.columns, TIME_NAMES)
    named = [*usual, *match_names(free.columns, PART_NAMES)]
    for name in named:
        if name in temporal or (name in usual and free[name].dtype.is_integer()):
            return {name: ("time", "its name and type")}
    if temporal:
        return {temporal[0]: ("time", "it holds times")}
    for name in named:
        if holds_times(free[name]):
            return {name: ("time", "its name, and its text can be read as times")}
    if not usual:
        for column in free.iter_columns():
            if column.name not in named and holds_times(column):
                return {column.name: ("time", "its text can be read as times")}
        if len(named) == 1 and named[0].lower() == "year" and are_years(free[named[0]]):
            return {named[0]: ("time", "its name, and its whole numbers are years")}
    return dict.fromkeys(usual[:1], ("time", "its name"))


def holds_times(column: pl.Series) -> bool:
    """Return whether a column is text that can be read as times, such as dates, quarters, weeks or years."""
    text = column.cast(pl.String) if isinstance(column.dtype, (pl.Categorical, pl.Enum)) else column
    return (
        text.dtype == pl.String
        and text.null_count() < len(text)
        and all(read_times(part, None, Issues()) is not None for part in (text.drop_nulls().head(1000), text))
    )


def find_target(free: pl.DataFrame, constant: Collection[str]) -> Roles:
    """Return the target by name, or the only numeric column that varies within a series and is no plan by its name."""
    numeric = [column.name for column in free.iter_columns() if column.dtype.is_numeric()]
    if named := match_names([*numeric, *filter(lambda name: holds_numbers(free[name]), free.columns)], TARGET_NAMES):
        return {named[0]: ("target", "its name")}
    if len(numeric) > 1:
        numeric = [name for name in numeric if name not in constant and free[name].drop_nulls().n_unique() > 2]
        numeric = [name for name in numeric if not PLANNED_NAME.search(name)]
    is_only = len(numeric) == 1 and not any(find_odd_cell(column) for column in free.iter_columns())
    return {numeric[0]: ("target", "the only numeric column that varies")} if is_only else {}


def find_categories(frame: pl.DataFrame, ids: Sequence[str]) -> list[str]:
    """Return the id columns that several series share values of, which the network can learn from."""
    counts = {name: frame.select(ids).unique()[name].n_unique() for name in ids}
    return [name for name, count in counts.items() if 1 < count < frame.select(ids).n_unique()]


def find_constant_columns(frame: pl.DataFrame, ids: Sequence[str], names: list[str]) -> set[str]:
    """Return the columns with one value per series (missing cells aside), where there are several series."""
    if not ids or not names or frame.select(ids).n_unique() < 2:
        return set()
    plain = [name for name in names if not (frame[name].dtype.is_nested() or frame[name].dtype == pl.Object)]
    counts = frame.group_by(ids).agg(pl.col(plain).drop_nulls().n_unique()).select(pl.col(plain).max())
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
        if holds_numbers(column) and not holds_padded_numbers(column):
            return "real", "numbers written as text"
        return "categorical", "yes or no" if holds_booleans(column) else "text"
    if dtype.is_integer() and distinct <= MAX_CODES and distinct * 2 < len(column):
        return "categorical", f"only {distinct} different whole numbers"
    return "real", ""


# Columns that are functions of the calendar.


_time = pl.col("time").dt
_HOUR, _MINUTE, _DAY_OF_WEEK, _DAY, _MONTH = _time.hour(), _time.minute(), _time.weekday(), _time.day(), _time.month()
_DATE, _WEEK, _YEAR = _time.date(), _time.date().dt.truncate("1w"), _time.year()


@dataclass(frozen=True, kw_only=True)
class CalendarFact:
    """What the values of a column follow from."""

    words: str
    keys: tuple[pl.Expr, ...]
    cycle: pl.Expr  # the times at which the same keys occur again differ in it
    feature: str | None = None
    """The calendar feature that says the same."""


FACTS = (
    CalendarFact(words="the hour", keys=(_HOUR,), cycle=_DATE, feature="hour"),
    CalendarFact(words="the day of the week", keys=(_DAY_OF_WEEK,), cycle=_WEEK, feature="day_of_week"),
    CalendarFact(words="the month", keys=(_MONTH,), cycle=_YEAR, feature="month"),
    CalendarFact(
        words="the day of the month", keys=(_DAY,), cycle=_time.date().dt.month_start(), feature="day_of_month"
    ),
    CalendarFact(words="the time of day", keys=(_HOUR, _MINUTE.alias("minute")), cycle=_DATE),
    CalendarFact(words="the day of the week and the hour", keys=(_DAY_OF_WEEK.alias("day"), _HOUR), cycle=_WEEK),
    CalendarFact(words="the day and the month", keys=(_DAY.alias("day"), _MONTH.alias("month")), cycle=_YEAR),
)
"""Simple ones first: the first that holds is the one that is said."""


def find_calendar_fact(times: pl.Series, values: pl.Series) -> CalendarFact | None:
    """Return the fact of the calendar that a column is a function of, in every row with a value; None without one.

    Each day, hour or the like that occurs must do so in two cycles at least (two weeks for days of the week, two years
    for months), and always with the same value. 29 February may occur once.
    """
    if not (times.dtype == pl.Date or isinstance(times.dtype, pl.Datetime)):
        return None
    rows = pl.DataFrame({"time": times.cast(pl.Datetime) if times.dtype == pl.Date else times, "value": values})
    rows = rows.drop_nulls()
    if rows["value"].dtype.is_float():
        rows = rows.filter(pl.col("value").is_not_nan())
    if rows["value"].n_unique() < 2:
        return None
    for fact in FACTS:
        if not _contradicts(rows.head(QUICK_ROWS), fact) and not _contradicts(rows, fact) and _repeats(rows, fact):
            return fact
    return None


def _contradicts(rows: pl.DataFrame, fact: CalendarFact) -> bool:
    """Whether a column has two values for the same keys."""
    return bool((rows.group_by(*fact.keys).agg(pl.col("value").n_unique())["value"] > 1).any())


def _repeats(rows: pl.DataFrame, fact: CalendarFact) -> bool:
    """Whether all keys occur in two cycles at least."""
    usual = rows.filter(~((_MONTH == 2) & (_DAY == 29)))
    return bool((usual.group_by(*fact.keys).agg(fact.cycle.n_unique().alias("cycles"))["cycles"] > 1).all())


# Measures of the series.


def measure_series(
    frame: pl.DataFrame,
    ids: Sequence[str],
    time: str,
    target: str | None,
    frequency: str | None,
    warnings: list[str],
) -> dict[str, Any]:
    """Return the fields of an Inspection about the series, as far as they can be inferred.

    What prevents it is added to `warnings`.
    """
    issues = Issues()
    counted = None if frequency is None else Frequency.parse(frequency).is_integer
    times = read_times(frame[time], None, issues, counted=counted)
    try:
        issues.raise_if_any()
    except DataError as error:
        warnings.append(str(error))
        return {}
    assert times is not None
    if frequency is None and time.lower() == "year" and are_years(times):
        frequency = "1y"
        times = read_times(frame[time], None, issues, counted=False)
        assert times is not None
    times, series = keep_rows_with_keys(times, frame.select(ids) if ids else None)
    if lacking := len(frame) - len(times):
        warnings.append(f"{format_count(lacking, 'row')} without a time or an id")
    if times.is_empty():
        return {}
    zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
    measures: dict[str, Any] = {"time_zone": zone, "span": (str(times.min()), str(times.max()))}
    try:
        inferred = infer_frequency(times, series, time) if frequency is None else frequency
    except SchemaError as error:
        warnings.append(str(error))
        return measures
    if (row := find_exchanged(times, series)) is not None:
        issues.exchanged_dates(times, row)
        warnings.extend(issues.sentences)
    elif frequency is None:
        try:
            check_filled(times, series, inferred, time)
        except SchemaError as error:
            warnings.append(str(error))
    frequency = inferred
    measures |= {"frequency": frequency, **measure_lengths(times, series, frequency, warnings)}
    if not lacking and target is not None:
        measures["future_steps"] = count_future_steps(frame[target], times, series, warnings)
    return measures


def measure_lengths(times: pl.Series, series: NDArray[np.int32], frequency: str, warnings: list[str]) -> dict[str, Any]:
    """Return the lengths, gaps and duplicates of an Inspection."""
    time_grid = TimeGrid.from_times(times, frequency)
    if closed := time_grid.step.closed_weekdays:
        warnings.append(f"steps are business days: no row lies on {format_weekdays(closed)}; else set frequency 1d")
    if time_grid.step.is_integer != times.dtype.is_integer():
        warnings.append(f"frequency {frequency} does not match times of type {times.dtype}")
        return {}
    rows = pl.DataFrame({"series": series, "tick": time_grid.ticks(times)})
    unique = rows.unique()
    duplicates = len(rows) - len(unique)
    if duplicates:
        question = "" if series.max() > 0 else "; is there an id column?"
        warnings.append(f"{format_count(duplicates, 'row')} with a time that its series already has{question}")
    unique = unique.with_columns(pl.col("tick").min().over("series").alias("start"))
    steps = time_grid.steps_between(unique["start"].to_numpy(), unique["tick"].to_numpy())
    off_grid = int((steps == OFF_GRID).sum())
    if off_grid:
        warnings.append(f"{format_count(off_grid, 'row')} off the {frequency} grid of their series")
    per_series = unique.with_columns(step=steps).group_by("series").agg(length=pl.col("step").max().clip(0) + 1)
    lengths = per_series["length"].to_numpy()
    return {
        "lengths": (int(lengths.min()), float(np.median(lengths)), int(lengths.max())),
        "gaps": int(lengths.sum()) - (len(unique) - off_grid),
        "duplicates": duplicates,
    }


def count_future_steps(target: pl.Series, times: pl.Series, series: NDArray[np.int32], warnings: list[str]) -> int:
    """Return the most rows of a series after the last target of all; warn of them, and of other ends without a target.

    See :func:`fusecast.data.future.split_future_rows`.
    """
    empty = target.is_null() | (target.is_nan() if target.dtype.is_float() else False)
    rows = pl.DataFrame({"series": series, "time": times, "empty": empty}).sort("series", "time")
    latest = pl.col("time").filter(~pl.col("empty")).max()
    future = rows.filter(pl.col("time") > latest)["series"].value_counts()  # none where no target is known
    steps = int(future["count"].max() or 0)  # type: ignore[arg-type]  # of whole numbers
    if steps:
        where = f"after {rows.select(latest).item()}, in up to {format_count(steps, 'row')} of "
        warnings.append(
            f"target {target.name!r} is empty {where}{format_count(len(future), 'series')}: `fit` takes these rows as "
            "the steps to forecast, and `predict` forecasts them"
        )
        rows = rows.filter(pl.col("time") <= latest)
    tails = int(rows.group_by("series").agg(pl.col("empty").last())["empty"].sum())
    if tails:
        warnings.append(
            f"target {target.name!r} is missing in the last row of {format_count(tails, 'series')}"
            f"{' before that' if steps else ''}: forecasts begin after it"
        )
    return steps
