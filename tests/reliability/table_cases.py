"""Cases of tables as people have them, drawn by Hypothesis, and the tables that they describe."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import strategies as st

Columns = dict[str, list[Any]]
BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a table is written; every word is one of the choices below."""

    clock: str
    written: str  # how times are
    zone: str | None
    frequency: str | None
    rows: str  # which there are
    order: str
    lengths: tuple[int, ...]
    ends: str
    ids: str
    more_ids: tuple[str, ...]  # kinds of further id columns
    target: str
    targets: int
    covariates: tuple[tuple[str, str], ...]  # role and kind
    declared: bool  # whether the covariates are listed as categorical
    weight: str | None
    steps_ahead: str  # where the rows to forecast are
    plan: str  # how the plan is written
    newer: str | None
    kept_in: str  # kind of object or file
    horizon: int
    lookback: int | None
    head: str
    transform: str
    scaling: str
    partial: bool
    seed: int


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Draw the usual choice five times of six."""
    return st.sampled_from([usual] * (5 * len(others)) + list(others))


KINDS = (
    *(
        "real",
        "flag",
        "yes",
        "mixed flags",
        "codes",
        "padded",
        "levels",
        "objects",
        "decimals",
        "text numbers",
        "holes",
    ),
    *("empty", "constant", "lists", "times", "large", "many levels", "complex", "units"),
)
CASES = st.builds(
    Case,
    clock=mostly(
        "1h",
        *("15m", "1d", "1b", "mon-sat", "1w", "month start", "month end", "month 30", "1q", "1y", "1s", "100ms"),
        *("steps", "steps of 2", "irregular", "repeated hour", "weekly among daily"),
    ),
    written=mostly(
        "datetime",
        *("date", "iso", "iso T", "dotted", "slashed", "slashed US", "short", "compact", "month", "quarter", "week"),
        *("year", "year text", "utc", "berlin", "offset", "epoch", "swapped", "odd cell", "nulls", "float"),
    ),
    zone=mostly(None, "Europe/Berlin", "UTC", "Nowhere/Else"),
    frequency=mostly(None, "1h", "1d", "1i", "1b", "3x"),
    rows=mostly("all", "few gaps", "gaps", "most gone", "twice", "one twice"),
    order=mostly("sorted", "reversed", "shuffled", "by time"),
    lengths=mostly((70, 70), (60,), (120, 40, 80), (70, 70, 5), (70, 1), (12, 9), (3,), (1,), (50, 50, 50, 50)),
    ends=mostly("same", "differ"),
    ids=mostly("text", "none", "int", "float", "bool", "date", "null", "spaces", "category", "constant", "lists"),
    more_ids=mostly(
        (),
        *(("int",), ("text", "date"), ("date",), ("bool",), ("text",), ("float", "bool"), ("null",), ("bool", "int")),
    ),
    target=mostly(
        "real",
        *("counts", "zeros", "constant", "tiny", "huge", "1e36", "1e160", "sentinel", "negative", "text", "decimal"),
        *("int", "bool", "nulls", "one empty", "empty", "inf", "large int", "units", "mostly zero"),
    ),
    targets=mostly(1, 2),
    covariates=st.lists(
        st.tuples(st.sampled_from(("known", "known", "observed", "static")), st.sampled_from(KINDS)), max_size=3
    ).map(tuple),
    declared=mostly(False, True),
    weight=mostly(None, "ones", "random", "zeros", "negative"),
    steps_ahead=mostly("plan", "table", "half", "more", "none"),
    plan=mostly(
        "same",
        *("other spelling", "other ids", "holes", "empty column", "lacks a row", "lacks a column", "new level"),
        *("no id", "one id"),
    ),
    newer=st.sampled_from(
        (None, "longer", "few rows", "new series", "one empty", "other spelling", "other ids", "one row", "same")
    ),
    kept_in=mostly(
        "polars",
        *("lazy", "pandas", "pandas index", "pandas index kept", "pandas two levels", "pandas odd index", "arrow"),
        *("dict", "rows", "csv", "parquet", "streamed", "semicolons"),
    ),
    horizon=st.sampled_from((1, 3, 4, 7)),
    lookback=st.sampled_from((None, 1, 6, 12)),
    head=mostly("quantile", "normal", "student_t", "negative_binomial", "tweedie"),
    transform=mostly("none", "log1p", "asinh"),
    scaling=mostly("auto", "none", "mean", "last"),
    partial=st.booleans(),
    seed=st.integers(0, 2**31),
)


@dataclass(frozen=True)
class Tables:
    """What is given to a forecaster."""

    table: Any
    plan: Any
    newer: Any
    newer_plan: Any
    options: Mapping[str, Any]


def make_tables(case: Case, folder: Path) -> Tables:
    """Return the tables of a case; files go into a folder."""
    roles: dict[str, list[str]] = {"known": [], "observed": [], "static": []}
    for number, (role, _) in enumerate(case.covariates):
        roles[role].append(f"x{number}")
    table, future = _history(case, 0)
    if case.steps_ahead in ("table", "half", "more"):
        steps = {"table": case.horizon, "half": (case.horizon + 1) // 2, "more": case.horizon + 2}[case.steps_ahead]
        ahead = _take(future, [i for i, step in enumerate(future["step"]) if step < steps])
        table = {name: values + ahead.get(name, [None] * len(ahead["ds"])) for name, values in table.items()}
    plan = _plan(case, future, roles["known"])
    newer, newer_plan = _newer(case, roles["known"])
    names = ["y", "y2"][: case.targets]
    options: dict[str, Any] = {**roles, "target": names, "id": _id_names(case) or None}
    if case.declared:
        options["categorical"] = [name for each in roles.values() for name in each]
    options["streaming"] = True if case.kept_in == "streamed" else None
    options |= {"frequency": case.frequency, "time_zone": case.zone}
    options["network"] = {"hidden_size": 4, "num_heads": 1, "head": case.head}
    options["features"] = {"target_transform": case.transform, "window_scaling": case.scaling}
    if case.weight is not None:
        options["weight"] = "w"
    ahead_of = case.steps_ahead == "plan"
    return Tables(
        _keep(case, table, folder, "table"),
        _keep(case, plan, folder, "plan") if ahead_of and plan else None,
        None if newer is None else _keep(case, newer, folder, "newer"),
        _keep(case, newer_plan, folder, "newer plan") if newer_plan else None,
        options,
    )


def _history(case: Case, more: int) -> tuple[Columns, Columns]:
    """Return the rows of a table, and those of the steps after it with their `step`, `more` rows later."""
    rng = np.random.default_rng(case.seed)
    history: dict[str, list[Any]] = {}
    future: dict[str, list[Any]] = {}
    lengths = case.lengths[:1] if case.ids == "none" else case.lengths
    for s, length in enumerate(lengths):
        end = length + more - (7 * s if case.ends == "differ" and length > 30 else 0)
        every = _written(case, _clock(case, end + case.horizon + 2, s), s)
        columns: Columns = {"ds": every}
        for name, value in zip(_id_names(case), _name_series(case, s), strict=True):
            columns[name] = [value] * len(every)
        columns["y"] = _target(case.target, len(every), s, rng)
        columns["y2"] = _target("real", len(every), s, rng)
        columns["w"] = _weights(case.weight, len(every), rng)
        for number, (role, kind) in enumerate(case.covariates):
            values = _covariate(kind, len(every), rng)
            columns[f"x{number}"] = [values[0]] * len(values) if role == "static" else values
        for name, values in columns.items():
            history.setdefault(name, []).extend(values[:end])
            if name not in ("y", "y2", "w"):
                future.setdefault(name, []).extend(values[end:])
        future.setdefault("step", []).extend(range(len(every) - end))
    return _ordered(case, history), future


def _ordered(case: Case, columns: Columns) -> Columns:
    chance = random.Random(case.seed)
    rows = list(range(len(columns["ds"])))
    share = {"few gaps": 0.97, "gaps": 0.7, "most gone": 0.15}.get(case.rows, 1.0)
    rows = [row for row in rows if chance.random() < share] or rows[:1]
    if case.rows == "twice":
        rows = [row for row in rows for _ in range(2)]
    if case.rows == "one twice":
        rows.append(rows[0])
    if case.order == "reversed":
        rows.reverse()
    if case.order == "shuffled":
        chance.shuffle(rows)
    if case.order == "by time":
        rows.sort(key=lambda row: str(columns["ds"][row]))
    return _take(columns, rows)


def _take(columns: Columns, rows: Sequence[int]) -> Columns:
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def _plan(case: Case, future: Columns, known: Sequence[str]) -> Columns | None:
    if not known and case.plan == "same":
        return None
    rows = [i for i, step in enumerate(future["step"]) if step < case.horizon]
    if case.plan == "lacks a row":
        rows = rows[1:]
    ids = _id_names(case)[: {"no id": 0, "one id": 1}.get(case.plan)]
    plan = _take({name: future[name] for name in (*ids, "ds", *known)}, rows)
    if case.plan == "other ids":
        plan |= {name: [_spelled_id(value) for value in plan[name]] for name in ids}
    for name in known:
        values = plan[name]
        if case.plan == "other spelling":
            plan[name] = [_spelled(value) for value in values]
        if case.plan == "holes":
            plan[name] = [None if i % 3 == 1 else value for i, value in enumerate(values)]
        if case.plan == "empty column":
            plan[name] = [None] * len(values)
        if case.plan == "new level":
            plan[name] = ["never seen" if isinstance(value, str) else value for value in values]
    if case.plan == "lacks a column" and known:
        del plan[known[0]]
    return plan if rows else None


def _newer(case: Case, known: Sequence[str]) -> tuple[Columns | None, Columns | None]:
    if case.newer is None:
        return None, None
    table, future = _history(case, 9 if case.newer == "longer" else 0)
    ids = _id_names(case)
    names: list[Any] = list(zip(*(table[name] for name in ids), strict=True)) or [0] * len(table["ds"])
    if case.newer in ("few rows", "one row"):
        most = 1 if case.newer == "one row" else 5
        table = _take(table, [i for i, name in enumerate(names) if names[i:].count(name) <= most])
    if case.newer == "one empty":
        table["y"] = [None if name == names[0] else value for name, value in zip(names, table["y"], strict=True)]
    for name in ids if case.newer == "new series" else ():
        old = table[name][0]
        new = "another" if isinstance(old, str) else old + timedelta(days=3_000) if isinstance(old, date) else old
        for columns in (table, future):
            columns[name] = [new if value == old else value for value in columns[name]]
    for name in ids if case.newer == "other ids" else ():
        table[name] = [_spelled_id(value) for value in table[name]]
    if case.newer == "other spelling":
        for name in (name for name in table if name.startswith("x")):
            table[name] = [_spelled(value) for value in table[name]]
    return table, _plan(replace(case, plan="same"), future, known)


def _clock(case: Case, count: int, s: int) -> list[Any]:
    start = datetime(2023, 10, 28) if case.clock == "repeated hour" else datetime(2021, 3, 1)
    minutes = {"15m": 15, "1h": 60, "1d": 1440, "1w": 10080}
    if case.clock in minutes:
        return [start + timedelta(minutes=minutes[case.clock] * i) for i in range(count)]
    if case.clock == "weekly among daily":
        return [start + timedelta(days=i * (7 if s == 1 else 1)) for i in range(count)]
    if case.clock in ("1b", "mon-sat"):
        closed = 5 if case.clock == "1b" else 6
        days = (start + timedelta(days=i) for i in range(2 * count + 10))
        return [day for day in days if day.weekday() < closed][:count]
    offsets = {"month start": "MS", "month end": "ME", "1q": "QS", "1y": "YS"}
    if case.clock in offsets:
        return list(pd.date_range("1950-01-01", periods=count, freq=offsets[case.clock]).to_pydatetime())
    if case.clock == "month 30":
        ends = pd.date_range("1990-01-31", periods=count, freq="ME").to_pydatetime()
        return [end.replace(day=min(end.day, 30)) for end in ends]
    if case.clock in ("1s", "100ms"):
        return [start + timedelta(seconds=i * (1.0 if case.clock == "1s" else 0.1)) for i in range(count)]
    if case.clock in ("steps", "steps of 2"):
        return [i * (2 if case.clock == "steps of 2" else 1) for i in range(count)]
    if case.clock == "irregular":
        chance = random.Random(case.seed + s)
        return [start + timedelta(minutes=60 * i + chance.randrange(40)) for i in range(count)]
    times = [datetime(2023, 10, 28, tzinfo=UTC) + timedelta(hours=i) for i in range(count)]
    return [moment.astimezone(BERLIN).replace(tzinfo=None, fold=0) for moment in times]


def _written(case: Case, times: list[Any], s: int) -> list[Any]:
    if not isinstance(times[0], datetime):
        return {"float": [float(t) for t in times], "iso": [str(t) for t in times]}.get(case.written, times)
    formats = {
        "dotted": "%d.%m.%Y %H:%M",
        "slashed": "%d/%m/%Y %H:%M",
        "slashed US": "%m/%d/%Y %I:%M %p",
        "short": "%d.%m.%y %H:%M",
        "month": "%b %Y",
        "week": "%G-W%V",
        "year text": "%Y",
        "iso T": "%Y-%m-%dT%H:%M:%S",
    }
    if case.written in formats:
        return [t.strftime(formats[case.written]) for t in times]
    match case.written:
        case "date":
            return [t.date() for t in times]
        case "iso":
            return [str(t) for t in times]
        case "compact":
            return [int(t.strftime("%Y%m%d")) for t in times]
        case "quarter":
            return [f"{t.year} Q{(t.month + 2) // 3}" for t in times]
        case "year":
            return [t.year for t in times]
        case "utc":
            return [t.replace(tzinfo=UTC) for t in times]
        case "berlin":
            return [t.replace(tzinfo=UTC).astimezone(BERLIN) for t in times]
        case "offset":
            return [t.replace(tzinfo=timezone(timedelta(hours=2))).isoformat() for t in times]
        case "epoch" | "float":
            return [(int if case.written == "epoch" else float)(t.replace(tzinfo=UTC).timestamp()) for t in times]
        case "swapped":
            return [
                (t.replace(month=t.day, day=t.month) if t.day <= 12 else t).strftime("%Y-%m-%d %H:%M") for t in times
            ]
        case "odd cell":
            return [("soon" if i == 3 and s == 0 else str(t)) for i, t in enumerate(times)]
        case "nulls":
            return [None if i == 3 and s == 0 else t for i, t in enumerate(times)]
    return times


def _id_names(case: Case) -> list[str]:
    return [] if case.ids == "none" else ["unique_id", *(f"id{number}" for number in range(len(case.more_ids)))]


def _name_series(case: Case, s: int) -> list[Any]:
    """Return the ids of a series; of several columns, the first two have each value in several series."""
    if case.ids == "none":
        return []
    kinds = (case.ids, *case.more_ids)
    return [_name(kind, s if len(kinds) == 1 else (s // 2, s % 2, s)[i]) for i, kind in enumerate(kinds)]


def _name(kind: str, s: int) -> Any:
    names: dict[str, Any] = {
        "date": date(2020, 1, 1 + s),
        "int": 10 * s,
        "float": s + 0.5,
        "bool": s % 2 == 0,
        "null": None if s == 1 else f"s{s}",
        "constant": "s",
        "spaces": f" s{s} ",
        "lists": [s],
    }
    return names.get(kind, f"s{s}")


def _target(kind: str, n: int, s: int, rng: np.random.Generator) -> list[Any]:
    values = 10.0 * (s + 1) + np.sin(np.arange(n) / 4) + rng.normal(0, 0.3, n)
    counts = rng.poisson(2.0, n)
    choices: dict[str, Any] = {
        "counts": counts,
        "zeros": values * 0,
        "constant": values * 0 + 7,
        "tiny": values * 1e-12,
        "huge": values * 1e12,
        "1e36": values * 1e35,
        "1e160": values * 1e160,
        "negative": values - 30 * (s + 1),
        "int": values.round().astype(int),
        "bool": counts > 1,
        "mostly zero": counts * (counts > 4),
        "large int": 2**62 + counts,
        "one empty": values * (np.nan if s == 0 else 1),
        "empty": values * np.nan,
    }
    cells: list[Any] = np.asarray(choices.get(kind, values)).tolist()
    match kind:
        case "text":
            return [f"{cell:.3f}" for cell in cells]
        case "units":
            return [f"{cell:.2f} EUR" for cell in cells]
        case "decimal":
            return [Decimal(f"{cell:.3f}") for cell in cells]
        case "sentinel" | "inf":
            return [(9.97e36 if kind == "sentinel" else np.inf) if i == 5 else cell for i, cell in enumerate(cells)]
        case "nulls" | "one empty" | "empty":
            return [None if cell != cell or (kind == "nulls" and i % 5 == 2) else cell for i, cell in enumerate(cells)]
    return cells


def _weights(kind: str | None, n: int, rng: np.random.Generator) -> list[Any]:
    drawn: list[float] = (rng.gamma(1.0, 1.0, n) * (rng.random(n) > 0.3)).tolist()
    choices = {"ones": [1] * n, "zeros": [0.0] * n, "negative": [-1.0] * n}
    return choices.get(kind or "", drawn)


def _covariate(kind: str, n: int, rng: np.random.Generator) -> list[Any]:
    reals, codes = rng.normal(5, 1, n).round(3).tolist(), rng.integers(0, 4, n).tolist()
    flags = [code > 1 for code in codes]
    start = datetime(2021, 1, 1)
    choices: dict[str, Any] = {
        "flag": flags,
        "yes": ["yes" if flag else "no" for flag in flags],
        "codes": codes,
        "constant": [3.5] * n,
        "mixed flags": [(flag, str(flag), "Y" if flag else "N")[i % 3] for i, flag in enumerate(flags)],
        "padded": [f"{code:03}" for code in codes],
        "levels": [("low", "mid", "high", "top")[c] for c in codes],
        "objects": [(int(v), v, Decimal(str(v)), np.float32(v), None)[i % 5] for i, v in enumerate(reals)],
        "decimals": [Decimal(str(value)) for value in reals],
        "text numbers": [str(value) for value in reals],
        "holes": [None if i % 4 == 1 else v for i, v in enumerate(reals)],
        "empty": [None] * n,
        "lists": [[code] for code in codes],
        "times": [start + timedelta(days=code) for code in codes],
        "large": [value * 1e30 for value in reals],
        "many levels": [f"level {i}" for i in range(n)],
        "complex": [complex(value, 1) for value in reals],
        "units": [f"{value:.1f} %" for value in reals],
    }
    return choices.get(kind, reals)  # type: ignore[no-any-return]


def _spelled(value: Any) -> Any:
    """Return a value in another spelling."""
    words = {"yes": "Y", "no": "N", "low": "LOW"}
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return words.get(value, value.lstrip("0") or "0")
    return float(value) if isinstance(value, int) else value


def _spelled_id(value: Any) -> Any:
    """Return an id in another spelling."""
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, int):
        return f"00{value}"
    return str(value) if isinstance(value, date | float) else value


def _keep(case: Case, columns: Columns, folder: Path, name: str) -> Any:
    """Return columns as the kind of object or file of a case; as a dict where that kind cannot hold them."""
    kind = case.kept_in
    if case.ids == "category" and kind.startswith("pandas") and "unique_id" in columns:
        columns = {**columns, "unique_id": pd.Categorical(columns["unique_id"])}  # type: ignore[dict-item]
    try:
        if kind.startswith("pandas"):
            return _pandas(kind, pd.DataFrame(columns), _id_names(case))
        if kind == "dict":
            return columns
        if kind == "rows":
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        frame = pl.DataFrame(columns)
        if kind in ("csv", "semicolons"):
            frame.write_csv(folder / f"{name}.csv", separator="," if kind == "csv" else ";")
            return folder / f"{name}.csv"
        if kind in ("parquet", "streamed"):
            frame.write_parquet(folder / f"{name}.parquet")
            return folder / f"{name}.parquet"
        return {"lazy": frame.lazy, "arrow": frame.to_arrow}.get(kind, lambda: frame)()
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):  # not of fusecast
        return columns


def _pandas(kind: str, frame: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    keys = [name for name in (*ids, "ds") if name in frame]
    if kind in ("pandas index", "pandas index kept"):
        return frame.set_index("ds", drop=kind == "pandas index")
    if kind == "pandas two levels":
        return frame.set_index(keys)
    if kind == "pandas odd index":
        frame.index = pd.Index([f"row {5 * i}" for i in range(len(frame))])
    return frame
