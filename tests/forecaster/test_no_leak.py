"""Nothing in a forecast changes when values after its origin are altered."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table

from fusecast import Forecaster

ORIGIN = datetime(2024, 1, 5)  # 96 of 120 hours are known
SPLIT = {"validation": 3, "test": "2024-01-05"}


def tampered(role: str, *, after: datetime = ORIGIN) -> pl.DataFrame:
    later = pl.col("ds") >= after
    change = {
        "target": pl.when(later).then(1e4).otherwise(pl.col("y")).alias("y"),
        "observed real": pl.when(later).then(-1e4).otherwise(pl.col("visitors")).alias("visitors"),
        "observed category": pl.when(later).then(pl.lit("hail")).otherwise(pl.col("weather")).alias("weather"),
        "known": pl.when(later).then(7.0).otherwise(pl.col("promotion")).alias("promotion"),
    }[role]
    return shop_table().with_columns(change)


def trained(table: pl.DataFrame) -> tuple[Forecaster, np.ndarray]:
    """Train on a table and forecast from the origin; everything after it lies in the test span."""
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, **TINY).fit(table)
    prepared = forecaster.prepared
    first = prepared.windows("test", stride=10_000)
    assert (prepared.panel.times_at(range(3), first.first_cutoff) == ORIGIN).all()
    return forecaster, forecaster.predictor.predict(prepared.panel, first).quantiles


@pytest.fixture(scope="module")
def untouched() -> tuple[Forecaster, np.ndarray]:
    return trained(shop_table())


@pytest.mark.parametrize("role", ["target", "observed real", "observed category"])
def test_training_and_forecasting_see_nothing_after_the_origin(role: str, untouched: tuple) -> None:
    forecaster, quantiles = trained(tampered(role))
    np.testing.assert_array_equal(quantiles, untouched[1])
    # scalers and vocabularies, word for word
    assert forecaster.prepared.preprocessor.to_json() == untouched[0].prepared.preprocessor.to_json()


def test_known_inputs_after_the_origin_do_change_the_forecast(untouched: tuple) -> None:
    forecaster = untouched[0]
    prepared = forecaster.prepare(tampered("known"))
    first = prepared.windows("test", stride=10_000)
    quantiles = forecaster.predictor.predict(prepared.panel, first).quantiles
    assert not np.array_equal(quantiles, untouched[1])


def test_scalers_and_vocabularies_do_see_the_training_span(untouched: tuple) -> None:
    early = datetime(2024, 1, 2)
    for role in ("target", "observed real", "observed category"):
        prepared = Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, **TINY).prepare(tampered(role, after=early))
        assert prepared.preprocessor.to_json() != untouched[0].prepared.preprocessor.to_json()
