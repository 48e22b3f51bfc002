"""Forecasts as `utilsforecast` evaluates them."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, shop_table
from utilsforecast.evaluation import evaluate
from utilsforecast.losses import coverage, mae, rmse, scaled_crps

from fusecast import Backtest, ConfigError, Forecaster
from fusecast.interop.utilsforecast import to_utilsforecast


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return shop_table().drop("promotion", "weather")


@pytest.fixture(scope="module")
def fitted(table: pl.DataFrame) -> Forecaster:
    known = table.filter(pl.col("ds") < table["ds"].unique().sort()[-HORIZON])
    return Forecaster(HORIZON, LOOKBACK, id="unique_id", observed=["visitors"], **TINY).fit(known)


@pytest.fixture(scope="module")
def backtest(fitted: Forecaster) -> Backtest:
    return fitted.backtest(stride=HORIZON, baselines=("last",))


def test_a_backtest_has_the_scores_that_utilsforecast_computes(backtest: Backtest) -> None:
    frame = to_utilsforecast(backtest)
    intervals = [f"{name}-{end}-80" for name in ("TFT", "last value") for end in ("lo", "hi")]
    assert set(frame.columns) == {"unique_id", "ds", "cutoff", "y", "TFT", "last value", *intervals}
    losses = [mae, rmse, coverage, scaled_crps]
    scores = evaluate(frame.drop("cutoff"), losses, level=[80])
    own = backtest.metrics("series").filter(pl.col("predictor") == "TFT").sort("group")
    for metric, column in (("mae", "mae"), ("rmse", "rmse"), ("coverage_level80", "coverage 0.8")):
        theirs = scores.filter(pl.col("metric") == metric).sort("unique_id")
        assert theirs["unique_id"].to_list() == own["group"].to_list()
        assert theirs["TFT"].to_list() == pytest.approx(own[column].to_list())
    assert not scores.filter(pl.col("metric") == "scaled_crps")["TFT"].is_null().any()


def test_forecasts_are_joined_with_the_actuals(fitted: Forecaster, table: pl.DataFrame) -> None:
    forecasts = fitted.predict().to_pandas()
    frame = to_utilsforecast(forecasts, actual=table.to_pandas(), name="mine")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["unique_id", "ds", "cutoff", "y", "mine", "mine-lo-80", "mine-hi-80"]
    assert frame["y"].tolist() == table.group_by("unique_id", maintain_order=True).tail(HORIZON)["y"].to_list()
    assert frame["mine-hi-80"].tolist() == forecasts["q0.9"].tolist()
    scores = evaluate(frame.drop(columns="cutoff"), [mae, coverage], level=[80])
    assert scores["mine"].notna().all()
    assert "y" not in to_utilsforecast(forecasts).columns


def test_several_targets_and_ids_are_told_apart() -> None:
    table = shop_table().drop("promotion", "weather")
    fitted = Forecaster(HORIZON, LOOKBACK, id=["city", "unique_id"], target=["y", "visitors"], **TINY).fit(table)
    backtest = fitted.backtest(stride=HORIZON, baselines=())
    with pytest.raises(ConfigError, match="target cannot be None"):
        to_utilsforecast(backtest)
    frame = to_utilsforecast(backtest, target="visitors")
    assert frame["unique_id"].unique().sort().to_list() == ["Bonn,shop 0", "Bonn,shop 2", "Lyon,shop 1"]
    own = dict(backtest.metrics().filter(pl.col("predictor") == "TFT").select("target", "mae").iter_rows())
    assert (frame["y"] - frame["TFT"]).abs().mean() == pytest.approx(own["visitors"])
    forecasts = fitted.predict()
    assert to_utilsforecast(forecasts, target="y")["TFT"].to_list() == forecasts["y:y_hat"].to_list()


def test_what_is_no_table_of_forecasts_is_refused(fitted: Forecaster, table: pl.DataFrame) -> None:
    with pytest.raises(ConfigError, match="the table has no forecasts"):
        to_utilsforecast(table)
    with pytest.raises(ConfigError, match="there is no column of `actual` 'sales'"):
        to_utilsforecast(fitted.predict(), actual=table, target="sales")
    with pytest.raises(ConfigError, match="of other types"):
        to_utilsforecast(fitted.predict(), actual=table.with_columns(ds=pl.lit("soon")))
