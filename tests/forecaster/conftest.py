from __future__ import annotations

import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import Forecaster


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return shop_table().with_columns(level=pl.Series(["low", "high"] * 180))


@pytest.fixture(scope="module")
def fitted(table: pl.DataFrame) -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **{**ROLES, "known": ["promotion", "level"]}, **TINY).fit(table)


@pytest.fixture(scope="module")
def future(table: pl.DataFrame) -> pl.DataFrame:
    return future_of(table).with_columns(level=pl.lit("low"))
