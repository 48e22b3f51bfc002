"""Find the columns of a table that name its series, by their names and by the times that they tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import polars as pl

ID_NAMES = ("unique_id", "id", "series_id", "series", "item_id", "item", "seq_ix", "ts_id", "group", "key")
MAX_CANDIDATES, MAX_KEYS = 10, 4
"""Columns that are tried, and of which at most so many name the series together."""
MIN_FILLED = 0.5
"""Share of the times at which the series that whole numbers name must have a row; else they are measurements."""

Roles = dict[str, tuple[str, str]]
"""Name of a column -> its role and the reason."""


def find_ids(free: pl.DataFrame, times: pl.Series | None) -> Roles:
    """Return the id columns: one by name, or the fewest columns of text or whole numbers that make times unique."""
    named = [name for name in match_names(free.columns, ID_NAMES) if not free[name].dtype.is_float()]
    if times is None or not times.drop_nulls().is_duplicated().any():
        return dict.fromkeys(named[:1], ("id", "its name"))
    rows = free.with_columns(times.alias("#time"))
    if not any(column.dtype.is_nested() or column.dtype == pl.Object for column in rows.iter_columns()):
        rows = rows.unique(maintain_order=True)  # a row that is there twice is an error of its own
    for name in named:
        if not rows.select(name, "#time").is_duplicated().any() and rows[name].is_duplicated().any():
            return {name: ("id", "its name")}
    found = find_key(rows)
    if not found:
        return dict.fromkeys(named[:1], ("id", "its name"))
    if len(found) == 1:
        kind = "text" if is_text(rows[found[0]]) else "whole numbers"
        return {found[0]: ("id", f"{kind} that repeat, and each time occurs once for each of the values")}
    others = " and ".join(f"{name!r}" for name in found)
    return dict.fromkeys(found, ("id", f"each time occurs once for the values of {others} together"))


def find_key(rows: pl.DataFrame) -> tuple[str, ...]:
    """Return the fewest columns that make the times unique; of several choices that with the fewest series.

    Text columns that stand between them, and have one value a series, are part of the key.
    """
    columns = [column for column in rows.drop("#time").iter_columns() if is_text(column) or column.dtype.is_integer()]
    repeating = [c.name for c in columns if c.null_count() == 0 and 1 < c.n_unique() <= len(c) // 2][:MAX_CANDIDATES]
    busiest = rows["#time"].drop_nulls().mode()[0]
    rows_then, num_times = rows.filter(pl.col("#time") == busiest), rows["#time"].n_unique()
    for size in range(1, MAX_KEYS + 1):
        found: dict[tuple[str, ...], int] = {}
        for names in combinations(repeating, size):
            if rows_then.select(names).is_duplicated().any() or rows.select(*names, "#time").is_duplicated().any():
                continue
            count = rows.select(names).n_unique()
            if all(is_text(rows[name]) for name in names) or len(rows) >= MIN_FILLED * count * num_times:
                found[names] = count
        if found:
            return add_between(rows, min(found.items(), key=lambda each: each[1])[0])
    return ()


def add_between(rows: pl.DataFrame, key: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a key, and the text columns between them that have one value a series."""
    first, last = (rows.columns.index(name) for name in (key[0], key[-1]))
    between = [name for name in rows.columns[first:last] if name not in key and is_text(rows[name])]
    counts = rows.group_by(key).agg(pl.col(between).n_unique()) if between else rows
    return tuple(n for n in rows.columns if n in key or (n in between and counts[n].max() == 1))


def is_text(column: pl.Series) -> bool:
    """Return whether a column holds text."""
    return column.dtype == pl.String or isinstance(column.dtype, (pl.Categorical, pl.Enum))


def match_names(names: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Return the names that are among the usual ones, in the order of these."""
    return [name for word in usual for name in names if name.lower() == word]
