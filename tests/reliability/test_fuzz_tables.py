"""`make fuzz-tables` in small: every table is forecast, or refused in words."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, shop_table
from tests.reliability.fuzz_tables import FAULT, FORECAST, NO_HINT, REFUSED, require_forecasts, try_tables
from tests.reliability.table_cases import Case

from fusecast import Forecaster


def test_a_hundred_tables_are_forecast_or_refused_in_words() -> None:
    faults: list[str] = []

    def keep(case: Case, text: str) -> None:
        faults.append(f"{case!r}\n{text}")

    counts = try_tables(100, number=7, trained=0.02, on_fault=keep)
    assert not faults, "\n".join(faults)
    assert counts[FAULT] == 0
    assert counts["tables"] == 100
    assert counts[FORECAST] > 30
    assert sum(count for name, count in counts.items() if name.startswith(REFUSED)) > 10
    assert not [name for name in counts if name.startswith(NO_HINT)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.with_columns(pl.lit(float("nan")).alias("q0.5")), "not finite"),
        (lambda frame: frame.with_columns(pl.col("q0.9").alias("q0.1"), pl.col("q0.1").alias("q0.9")), "not ordered"),
        (lambda frame: frame.head(-1), "one forecast a step"),
        (lambda frame: frame.with_columns(pl.col("q0.1", "q0.5", "q0.9") - 1000), "below zero"),
    ],
)
def test_wrong_forecasts_are_faults(change: Any, words: str, small: tuple[Forecaster, pl.DataFrame]) -> None:
    forecaster, forecasts = small
    require_forecasts(forecasts, forecaster)
    with pytest.raises(AssertionError, match=words):
        require_forecasts(change(forecasts), forecaster)


@pytest.fixture(scope="module")
def small() -> tuple[Forecaster, Any]:
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY).fit(shop_table())
    return forecaster, forecaster.predict()
