"""Columns of objects, as SQL drivers and JSON make them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fusecast.io.tables import read_table

MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "pandas": lambda values: pd.DataFrame({"x": pd.Series(values, dtype=object)}),
    "polars": lambda values: pl.DataFrame({"x": pl.Series(values, dtype=pl.Object)}),
    "dict": lambda values: {"x": values},
    "dict of arrays": lambda values: {"x": np.array(values, dtype=object)},
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def read(make: Callable[[list[Any]], Any], values: list[Any]) -> pl.Series:
    return read_table(make(values))["x"]


def test_numbers_of_several_types_are_one_column(make: Any) -> None:
    for values in (
        [1, 2.5, Decimal("3.50"), np.float32(4.5), np.int64(5), Fraction(1, 2), None, float("nan")],
        [Decimal(1), Decimal("2.5"), Decimal("3.50"), 4.5, 5, 0.5, Decimal("nan"), None],
        [np.float64(1), np.float64(2.5), 3.5, 4.5, np.int8(5), 0.5, pd.NA, pd.NaT],
    ):
        column = read(make, values)
        assert column.dtype == pl.Float64
        assert column.fill_nan(None).to_list() == [1.0, 2.5, 3.5, 4.5, 5.0, 0.5, None, None]
    whole = read(make, [1, np.int32(2), np.uint8(3), None])
    assert whole.dtype == pl.Int64
    assert whole.to_list() == [1, 2, 3, None]


def test_decimals_are_numbers(make: Any) -> None:
    assert read(make, [Decimal("1.50"), None, Decimal(2)]).to_list() == [1.5, None, 2.0]
    arrow = pa.table({"x": pa.array([Decimal("1.50"), None]), "id": pa.array([Decimal(3), Decimal(4)])})
    assert read_table(arrow).schema == {"x": pl.Float64, "id": pl.Int64}
    assert read_table(arrow.to_pandas()).schema["x"] == pl.Float64


def test_numbers_among_text_are_text(make: Any) -> None:
    assert read(make, [1, "2", 3.0, Decimal("4.5"), None]).to_list() == ["1", "2", "3", "4.5", None]
    assert read(make, ["a", 1.0, None, "b"]).to_list() == ["a", "1", None, "b"]


def test_booleans_stay_booleans_and_count_among_numbers(make: Any) -> None:
    assert read(make, [True, None, np.False_]).to_list() == [True, None, False]
    assert read(make, [True, 0, 2]).to_list() == [1, 0, 2]


def test_whole_numbers_beyond_64_bits_lose_no_digit(make: Any) -> None:
    assert read(make, [2**70, 2**70 + 1]).to_list() == [str(2**70), str(2**70 + 1)]


def test_other_objects_are_text_or_times(make: Any) -> None:
    name = uuid.uuid4()
    assert read(make, [name, None]).to_list() == [str(name), None]
    mixed = read(make, [datetime(2020, 1, 1), date(2020, 1, 2)]).to_list()
    assert [str(each)[:10] for each in mixed] == ["2020-01-01", "2020-01-02"]
    assert read(make, [date(2020, 1, 1), None]).cast(pl.String).to_list() == ["2020-01-01", None]


def test_complex_numbers_and_sets_stay_what_they_are(make: Any) -> None:
    assert read(make, [1j, 2.0]).dtype == pl.Object
    assert read(make, [{1}, {2}]).dtype == pl.Object
    assert read_table(pd.DataFrame({"x": [1j, 2j], "y": [1, 2]})).schema == {"x": pl.Object, "y": pl.Int64}
