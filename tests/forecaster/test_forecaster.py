from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import Forecaster
from fusecast.errors import ConfigError, DataError, SchemaError, TrainingError


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return shop_table()


@pytest.fixture(scope="module")
def fitted(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    folder = tmp_path_factory.mktemp("run")
    return Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table, folder=folder)


def test_forecasts_are_one_row_a_series_and_step_after_the_last_row(fitted: Forecaster, table: pl.DataFrame) -> None:
    forecasts = fitted.predict(future_of(table))
    assert forecasts["unique_id"].unique(maintain_order=True).to_list() == ["shop 0", "shop 1", "shop 2"]
    assert_frame_equal(
        forecasts.select("unique_id", "ds"), future_of(table).select("unique_id", "ds"), check_dtypes=False
    )
    assert {"y_hat", "q0.1", "q0.5", "q0.9"} <= set(forecasts.columns)
    assert (forecasts["q0.1"] <= forecasts["q0.5"]).all()
    assert (forecasts["q0.5"] <= forecasts["q0.9"]).all()
    assert_frame_equal(forecasts.select("y_hat"), forecasts.select(y_hat="q0.5"))


def test_a_pandas_frame_in_gives_a_pandas_frame_out(fitted: Forecaster, table: pl.DataFrame) -> None:
    from_pandas = fitted.predict(future_of(table).to_pandas(), data=table.to_pandas())
    assert isinstance(from_pandas, pd.DataFrame)
    from_polars = fitted.predict(future_of(table), data=table)
    np.testing.assert_array_equal(from_pandas["y_hat"].to_numpy(), from_polars["y_hat"].to_numpy())


def test_a_loaded_model_forecasts_the_same(fitted: Forecaster, table: pl.DataFrame, tmp_path: Path) -> None:
    again = Forecaster.load(fitted.save(tmp_path / "copy"))
    assert_frame_equal(again.predict(future_of(table), data=table), fitted.predict(future_of(table)))


def test_a_model_without_its_table_asks_for_one(fitted: Forecaster, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no table to read"):
        Forecaster.load(fitted.save(tmp_path / "copy")).predict()


def test_predicting_before_fitting_is_an_error_in_words(table: pl.DataFrame) -> None:
    with pytest.raises(TrainingError, match="no model is trained yet"):
        Forecaster(HORIZON, LOOKBACK).predict(data=table)


def test_missing_future_values_are_named(fitted: Forecaster, table: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"'promotion' lacks values.*'shop 0'.*\n.*observed"):
        fitted.predict()
    with pytest.raises(DataError, match="'shop 2'"):
        fitted.predict(future_of(table).filter(pl.col("unique_id") != "shop 2"))


def test_a_table_of_one_series_needs_no_id(table: pl.DataFrame) -> None:
    one = table.filter(unique_id="shop 1").select("ds", "y")
    forecasts = Forecaster(HORIZON, LOOKBACK, **TINY).fit(one).predict()
    assert forecasts.height == HORIZON
    assert "unique_id" not in forecasts.columns


def test_evaluation_judges_the_test_span_beside_the_baselines(fitted: Forecaster) -> None:
    evaluation = fitted.evaluate()
    assert set(evaluation.scores) == {"TFT", "last value", "seasonal naive 24", "seasonal naive 168"}
    assert evaluation.windows == 3 * (18 // HORIZON)  # 15% of 120 rows a series, forecast once each


def test_a_grown_table_is_judged_from_the_same_border_on(fitted: Forecaster) -> None:
    grown = shop_table(steps=140)
    assert fitted.evaluate(data=grown).windows == 3 * ((18 + 20) // HORIZON)


def test_an_explanation_covers_every_variable(fitted: Forecaster) -> None:
    explanation = fitted.explain()
    names = {row.variable for row in explanation.importances if row.group == "past"}
    assert {"y", "visitors", "promotion", "weather", "relative_position", "calendar:hour"} <= names
    assert explanation.windows == 3 * (18 - HORIZON + 1)
    for group in ("static", "past", "future"):
        shares = sum(row.mean for row in explanation.importances if row.group == group)
        assert shares == pytest.approx(1.0, abs=1e-5)


def test_the_report_is_one_page_with_the_numbers_of_the_run(fitted: Forecaster, tmp_path: Path) -> None:
    page = fitted.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "seasonal naive 24" in page
    assert "shop 2" in page
    assert "http://" not in page.split("<script", 1)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"known": ["promo"]}, "did you mean 'promotion'"),
        ({"known": ["promotion"], "observed": ["promotion"]}, "more than one role"),
        ({"target": "sales"}, "'sales' is not in the table"),
        ({"categorical": ["visitors"]}, "has no role"),
    ],
)
def test_a_wrong_declaration_is_refused_before_training(options: dict, words: str, table: pl.DataFrame) -> None:
    with pytest.raises(SchemaError, match=words):
        Forecaster(HORIZON, LOOKBACK, **options, **TINY).fit(table)


def test_a_horizon_longer_than_the_data_is_refused(table: pl.DataFrame) -> None:
    with pytest.raises(ConfigError, match="long enough"):
        Forecaster(500, LOOKBACK, **TINY).fit(table)


def test_a_series_never_seen_is_forecast_with_the_average_embedding(fitted: Forecaster) -> None:
    network = fitted.predictor.members[0].network
    names = list(fitted.prepared.preprocessor.inputs.static_categories)
    tables = network.static.embedding.table.split(network.static.embedding.cardinalities)
    for name, table in zip(names, tables, strict=True):
        torch.testing.assert_close(table[0], table[1:].mean(dim=0), msg=name)
    newcomer = shop_table(series=1).with_columns(unique_id=pl.lit("shop 99"))
    forecasts = fitted.predict(future_of(newcomer), data=newcomer)
    assert forecasts["unique_id"].unique().to_list() == ["shop 99"]
    assert np.isfinite(forecasts["y_hat"].to_numpy()).all()
