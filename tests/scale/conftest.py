from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import Forecaster


@pytest.fixture(scope="package")
def table() -> pl.DataFrame:
    return shop_table(series=6, steps=60)


@pytest.fixture(scope="package")
def plan(table: pl.DataFrame) -> pl.DataFrame:
    return future_of(table)


@pytest.fixture(scope="package")
def run(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with every role and a calibration."""
    folder = tmp_path_factory.mktemp("scale") / "run"
    options = {**TINY, "calibration": "auto", "split": {"validation": 3, "test": 1}}
    Forecaster(HORIZON, LOOKBACK, **ROLES, **options).fit(table).save(folder)
    return folder


@pytest.fixture
def data(table: pl.DataFrame, plan: pl.DataFrame, tmp_path: Path) -> Path:
    """A folder with a file of each series, which `plans` beside it has plans for."""
    for name, frame in (("data", table), ("plans", plan)):
        (tmp_path / name).mkdir()
        for (series,), rows in frame.partition_by("unique_id", as_dict=True).items():
            rows.write_parquet(tmp_path / name / f"{series}.parquet")
    return tmp_path / "data"
