"""Columns of Python objects, as SQL drivers, JSON and data frames have them: their values in one type."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import polars as pl

INT64 = np.iinfo(np.int64)


def read_objects(name: str, values: Iterable[Any]) -> pl.Series:
    """Return a column of Python objects in one type.

    Booleans stay booleans; numbers of different types, Decimal and NumPy's among them, become whole numbers or floats;
    all else becomes text, in which whole numbers have no decimal point. Lists, complex numbers and the like stay
    objects, which no role can read. None, NaN, NaT and NA are missing.
    """
    cells = [None if is_missing(value) else value for value in values]
    present = [cell for cell in cells if cell is not None]
    if not present:
        return pl.Series(name, cells, dtype=pl.Null)
    if all(isinstance(cell, bool | np.bool_) for cell in present):
        return pl.Series(name, [None if cell is None else bool(cell) for cell in cells], dtype=pl.Boolean)
    if all(isinstance(cell, Real | Decimal | np.bool_) for cell in present):
        if not all(isinstance(cell, Integral | np.bool_) for cell in present):
            return pl.Series(name, [None if cell is None else float(cell) for cell in cells], dtype=pl.Float64)
        if all(INT64.min <= int(cell) <= INT64.max for cell in present):
            return pl.Series(name, [None if cell is None else int(cell) for cell in cells], dtype=pl.Int64)
    if any(isinstance(cell, complex | list | tuple | dict | set | np.ndarray) for cell in present):
        return pl.Series(name, cells, dtype=pl.Object)
    return pl.Series(name, [None if cell is None else to_plain_text(cell) for cell in cells], dtype=pl.String)


def is_missing(value: Any) -> bool:
    """Return whether an object stands for a missing value."""
    if isinstance(value, Decimal):
        return value.is_nan()
    is_nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def to_plain_text(value: Any) -> str:
    """Return an object as text, times in the ISO format."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float | np.floating | Decimal) and value == value // 1:
        return str(int(value))
    return str(value)
