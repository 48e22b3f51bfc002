"""Series that training never saw: their level comes from their own history or their statics, never from the pool."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import TINY

from fusecast import DataWarning, Forecaster
from fusecast.data.future import extend_panel
from fusecast.inference.overlapping_windows import OverlappingWindows
from fusecast.windows.window_index import WindowIndex

LEVELS = np.geomspace(1, 10_000, 10)
H, L = 7, 14


def series(name: str, level: float, rows: int, end: int = 80) -> pl.DataFrame:
    steps = np.arange(end - rows, end)
    return pl.DataFrame(
        {
            "unique_id": name,
            "ds": [datetime(2024, 1, 1) + timedelta(days=int(step)) for step in steps],
            "y": level * (1 + 0.2 * np.sin(2 * np.pi * steps / 7)),
            "visitors": 3 * level * (1 + 0.2 * np.cos(2 * np.pi * steps / 7)),
            "capacity": 2 * level,
            "size": "small" if level < 100 else "large",
        }
    )


def train(**features: Any) -> Forecaster:
    table = pl.concat(series(f"s{i}", level, 80) for i, level in enumerate(LEVELS))
    options = {**TINY, "features": features}
    return Forecaster(H, L, observed=["visitors"], static=["capacity", "size"], **options).fit(table)


@pytest.fixture(
    scope="module",
    params=[("mean", "standard"), ("last", "mean_abs"), ("none", "robust")],
    ids="-".join,
)
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    return train(window_scaling=request.param[0], target_scaling=request.param[1])


def quantiles(forecaster: Forecaster, table: pl.DataFrame, name: str = "new") -> np.ndarray:
    frame = forecaster.predict(data=table).filter(pl.col("unique_id") == name)
    return frame.select("q0.1", "y_hat", "q0.9").to_numpy()


@pytest.mark.parametrize("rows", [21, 3, 2, 1])
def test_a_small_series_is_forecast_at_its_own_level(forecaster: Forecaster, rows: int) -> None:
    small, large = (quantiles(forecaster, series("new", level, rows)) for level in (10.0, 1e6))
    assert (np.abs(small) < 100).all()
    np.testing.assert_allclose(small[:, 1].mean(), 10, atol=12)
    # its own level is all that counts: another level gives the same forecast in other units
    statics = pl.DataFrame({"capacity": [20.0], "size": ["small"]})
    big = series("new", 1e6, rows).drop("capacity", "size").join(statics, how="cross")
    np.testing.assert_allclose(quantiles(forecaster, big) / 1e5, small, rtol=1e-3, atol=1e-3)
    assert (np.abs(large) < 1e7).all()


def test_a_series_without_history_is_forecast_at_the_level_of_similar_ones_and_said(forecaster: Forecaster) -> None:
    empty = pl.lit(None, dtype=pl.Float64)
    with pytest.warns(DataWarning, match="1 series without any known value of the target.*like them in 'capacity'"):
        small = quantiles(forecaster, series("new", 10.0, 3).with_columns(y=empty, visitors=empty))
    with pytest.warns(DataWarning):
        large = quantiles(forecaster, series("new", 8000.0, 3).with_columns(y=empty, visitors=empty))
    assert (np.abs(small) < 100).all()
    assert np.abs(large).max() > 1000


def test_trained_series_are_forecast_as_without_the_new_one(forecaster: Forecaster) -> None:
    trained = series("s3", LEVELS[3], 80)
    alone = quantiles(forecaster, trained, "s3")
    np.testing.assert_allclose(
        quantiles(forecaster, pl.concat([trained, series("new", 10.0, 30)]), "s3"), alone, rtol=1e-5
    )


def test_a_forecast_of_a_new_series_depends_on_the_rows_before_its_cutoff_alone(forecaster: Forecaster) -> None:
    prepared = forecaster._prepared_for(series("new", 10.0, 60))
    panel, predictor = prepared.panel, forecaster.predictor
    index = WindowIndex.between(lengths=60, begin=[0], end=60, lookback=L, horizon=H)
    every = predictor.predict(panel, index)
    for cutoff in (14, 30, 53):
        known = extend_panel(panel.truncate([cutoff]), H)
        alone = predictor.predict(known, WindowIndex.at_end(lengths=[cutoff], lookback=L, horizon=H))
        np.testing.assert_allclose(every.quantiles[every.cutoff == cutoff], alone.quantiles, rtol=1e-5, atol=1e-5)
    encoded = forecaster.prepared.preprocessor.encode(panel)
    assert not OverlappingWindows(predictor.members[0].network, encoded, index).find_runs()
    scores = forecaster.evaluate(data=series("new", 10.0, 60)).scores["TFT"][0]
    assert scores.mae < 30
