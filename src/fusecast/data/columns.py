"""Columns: one column of a table becomes numbers, or codes with levels."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.problems import Problems

MISSING_WORDS = ("", "na", "n/a", "#n/a", "nan", "<na>", "null", "none")
"""What people and programs write into a numeric column where there is no number."""


def blank(text: pl.Series) -> pl.Series:
    """Tell where a text column says that there is no number."""
    return text.str.strip_chars().str.to_lowercase().is_in(MISSING_WORDS)


WRITTEN_NUMBER = r"^[+-]?[$€£¥]?\s*\d+(?:[.,' \u00a0]\d{3})*(?:[.,]\d+)?\s*[%$€£¥]?$"
"""A number with what people write around and into it: units, thousands separators."""
NEARLY_ALL = 0.9


def odd_among_numbers(column: pl.Series) -> tuple[str, int] | None:
    """Find the first cell of a text column that is no plain number although nearly all are numbers; and its row.

    None where most cells are words, or where all are plain numbers: text by choice, such as the names of stores.
    """
    if column.dtype != pl.String:
        return None
    text = column.str.strip_chars()
    present = (text.is_not_null() & ~blank(text)).fill_null(value=False)
    plain = text.cast(pl.Float64, strict=False).is_not_null() & text.str.contains(r"\d")
    odd = (present & ~plain).fill_null(value=False)
    if not odd.any():
        return None
    written = (plain | text.str.contains(WRITTEN_NUMBER)) & present
    if int(written.sum()) < NEARLY_ALL * int(present.sum()):
        return None
    row = odd.arg_max() or 0
    return str(column[row]), row


def to_numbers(column: pl.Series, problems: Problems) -> NDArray[np.float64]:
    """Read a column as float64 [n], NaN where missing; note text, infinities and foreign types as problems."""
    name, dtype = column.name, column.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        parsed = column.str.strip_chars().cast(pl.Float64, strict=False)
        failed = (parsed.is_null() & column.is_not_null() & ~blank(column)).fill_null(value=False)
        if failed.any():
            row = failed.arg_max() or 0
            problems.not_a_number(name, column[row], row, int(failed.sum()))
        column = parsed
    elif not (dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null):
        problems.unreadable_type(name, dtype, "numbers")
        return np.full(len(column), np.nan)
    values = column.cast(pl.Float64).to_numpy()
    if (infinite := np.isinf(values)).any():
        problems.infinite(name, int(infinite.argmax()), int(infinite.sum()))
    return values


def to_text(column: pl.Series, problems: Problems) -> pl.Series:
    """Read a column as the text of its categories, null where missing.

    Whole numbers are written alike whatever their type, so that a column that is int in one table and float
    (because of a missing value) in another has the same categories. Each cell is written without regard to others.
    """
    dtype = column.dtype
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
        problems.unreadable_type(column.name, dtype, "categories")
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    if dtype.is_float():
        column = column.fill_nan(None)
        whole = (column == column.round(0)) & (column.abs() < 2**53)
        return column.cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole, column.cast(pl.String))
    text = column if column.dtype == pl.String else column.cast(pl.String)
    return text.set(text == "", None)


def to_codes(text: pl.Series) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Number the categories of a text column: codes [n], -1 where missing, and the levels in order."""
    levels = text.drop_nulls().unique().sort()
    return codes_of(text, levels), tuple(levels)


def codes_of(text: pl.Series, levels: pl.Series) -> NDArray[np.int32]:
    """Codes of a text column by given levels, -1 where missing."""
    codes = text.cast(pl.Enum(levels)).to_physical()
    return codes.cast(pl.Int32).fill_null(-1).to_numpy()
