"""Id columns: the one or several columns that name the series of a table, and the names of series as text.

The name of a series is the text of its id; of several columns it is a line of CSV, such as ``a,3``, in which texts that
hold a comma or a quote are quoted, so that different ids never have the same name.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import IntArray
from fusecast.data.issues import Issues
from fusecast.data.parsing import encode_levels, to_text

ONLY_SERIES = "series"
"""Name of the series of a table without an id column."""
QUOTED = ',"\r\n'
"""Characters of an id that are quoted in the name of a series of several columns."""

Id = str | Sequence[str] | None
"""The name of the id column, or the names of several; None for a table of one series."""


def id_names(id_: Id) -> tuple[str, ...]:
    """Return the names of the id columns.

    >>> id_names("shop"), id_names(["store", "item"]), id_names(None)
    (('shop',), ('store', 'item'), ())
    """
    if id_ is None:
        return ()
    return (id_,) if isinstance(id_, str) else tuple(id_)


def read_id_columns(frame: pl.DataFrame, names: Sequence[str], issues: Issues) -> pl.DataFrame | None:
    """Return the ids of each row, of the table's types; None, with an issue, where one is missing or cannot be read."""
    columns = [read_id_column(frame[name], issues) for name in names]
    columns = columns or [pl.repeat(ONLY_SERIES, len(frame), dtype=pl.String, eager=True).alias(ONLY_SERIES)]
    if issues.unread.intersection(names):
        return None
    for column in columns:
        issues.null_keys(column, "id")
    return None if any(column.null_count() for column in columns) else pl.DataFrame(columns)


def read_id_column(column: pl.Series, issues: Issues) -> pl.Series:
    """Return a column of ids, null where one is missing: an empty text or NaN."""
    dtype = column.dtype
    if dtype == pl.String:
        return column.set(column == "", None) if (column == "").any() else column
    if dtype.is_float():
        return column.fill_nan(None)
    if dtype.is_integer() or dtype.is_temporal() or dtype == pl.Boolean:
        return column
    text = to_text(column, issues)
    return column.set(text.is_null(), None) if isinstance(dtype, (pl.Categorical, pl.Enum)) else text


def number_series(columns: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """Return the different ids, a row each [S], in the order of their columns, and the number of each row's [n].

    No id may be missing.
    """
    series = np.zeros(len(columns), dtype=np.int64)
    for position, column in enumerate(map(to_sortable, columns.iter_columns())):
        levels = column.unique().sort()
        if column.dtype == pl.String:
            codes = encode_levels(column, levels).astype(np.int64)
        else:
            codes = np.searchsorted(levels.to_numpy(), column.to_numpy())
        series = codes if position == 0 else series * len(levels) + codes
        if position:
            different = pl.Series(series).unique().sort().to_numpy()
            series = np.searchsorted(different, series)
    first = np.zeros(int(series.max(initial=-1)) + 1, dtype=np.int64)
    first[series[::-1]] = np.arange(len(series))[::-1]  # of several rows the last assignment counts
    return columns[first], series.astype(np.int32)


def to_sortable(column: pl.Series) -> pl.Series:
    """Return ids as text or numbers that sort as they do: text by code point, false before true."""
    if column.dtype == pl.String or isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        return column.cast(pl.String)
    return column.cast(pl.Int8) if column.dtype == pl.Boolean else column.to_physical()


def name_series(ids: pl.DataFrame) -> list[str]:
    """Return the name of each series [S]."""
    texts = [to_text(column, Issues()).to_list() for column in ids.iter_columns()]
    return texts[0] if len(texts) == 1 else [join_name(parts) for parts in zip(*texts, strict=True)]


def ids_to_array(ids: pl.DataFrame) -> NDArray[np.generic]:
    """Return names of series as :attr:`Panel.ids` holds them: whole numbers of one column, else text."""
    column = ids.to_series()
    if ids.width == 1 and column.dtype.is_integer():
        return column.to_numpy()
    return np.array(name_series(ids), dtype=np.str_)


def join_name(parts: Sequence[str]) -> str:
    """Return the name of a series from the texts of its ids.

    >>> join_name(["a", "3"]), join_name(["a,b", "3"]), join_name(["7"])
    ('a,3', '"a,b",3', '7')
    """
    return parts[0] if len(parts) == 1 else ",".join(map(_quote, parts))


def split_name(name: str, count: int) -> list[str]:
    """Return the texts of the `count` ids in the name of a series; another number of texts where it is no such name.

    >>> split_name('"a,b", 3', 2), split_name("a,b", 1)
    (['a,b', '3'], ['a,b'])
    """
    return [name] if count == 1 else next(csv.reader([name], skipinitialspace=True), [])


def split_names(names: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Return the texts in the names of series, a column for each id."""
    if len(columns) == 1:
        return pl.DataFrame({columns[0]: names}, schema={columns[0]: pl.String})
    rows = [split_name(name, len(columns)) for name in names] if columns else []
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def expand_rows(ids: pl.DataFrame, texts: pl.DataFrame) -> tuple[IntArray, IntArray]:
    """Return rows of a table, by the texts of some id columns, and the series [S] with these texts: all pairs of both.

    `ids` are the texts of the series.
    """
    rows = texts.with_columns(pl.int_range(pl.len()).alias("#row"))
    series = ids.select(texts.columns).with_columns(pl.int_range(pl.len()).alias("#series"))
    pairs = rows.join(series, on=texts.columns).sort("#row", "#series")
    return pairs["#row"].to_numpy(), pairs["#series"].to_numpy()


def _quote(part: str) -> str:
    if part == part.strip() and not any(character in part for character in QUOTED):
        return part
    return '"' + part.replace('"', '""') + '"'
