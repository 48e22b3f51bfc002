from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, future_of, shop_table

from fusecast import Forecaster
from fusecast.errors import ConfigError, DataError


def test_a_span_is_explained_whole_or_thinned(fitted: Forecaster) -> None:
    whole = fitted.explain(split="all", max_windows=None)
    assert whole.windows == 3 * (120 - LOOKBACK - HORIZON + 1)
    thin = fitted.explain(split="all", max_windows=50)
    assert 20 <= thin.windows <= 50
    hours = thin.regimes.to_frame(fitted.prepared.panel)["time"].dt.hour()
    assert hours.n_unique() == thin.windows // 3  # no hour twice; the stride that thinning gives, 6, would see four


def test_one_series_can_be_explained_alone(fitted: Forecaster) -> None:
    result = fitted.explain(series="shop 1")
    assert result.regimes.to_frame(fitted.prepared.panel)["series"].unique().to_list() == ["shop 1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"series": "shop 9"}, "there is no series 'shop 9'"),
        ({"split": "tests"}, "did you mean 'test'"),
        ({"series": []}, "no window lies in the span"),
        ({"max_windows": -1}, "windows to explain"),
        ({"permutation": -1}, "windows to permute over"),
        ({"threshold": -0.1}, "the distance from which a forecast is flagged must lie in"),
        ({"threshold": float("nan")}, "the distance from which a forecast is flagged"),
    ],
)
def test_what_cannot_be_explained_is_an_error(options: dict[str, Any], words: str, fitted: Forecaster) -> None:
    with pytest.raises(ConfigError, match=words):
        fitted.explain(**options)


def test_one_forecast_is_explained_in_words_and_tables(fitted: Forecaster, future: pl.DataFrame) -> None:
    result = fitted.explain_forecast("shop 1", future)
    assert result.forecast["ds"].to_list() == fitted.predict(future).filter(unique_id="shop 1")["ds"].to_list()
    np.testing.assert_allclose(result.forecast["y_hat"], fitted.predict(future).filter(unique_id="shop 1")["y_hat"])
    shares = result.variables.group_by("group").agg(pl.col("weight").sum())
    np.testing.assert_allclose(shares["weight"], 1.0, atol=1e-5)
    assert result.steps["attention"].sum() == pytest.approx(1.0, abs=1e-5)
    assert result.steps.filter(position=-1)["y"].item() == pytest.approx(
        fitted.prepared.panel.to_frame().filter(unique_id="shop 1")["y"][-1]
    )
    assert result.steps.filter(pl.col("position") >= 0)["y"].is_null().all()
    for piece in (
        "'shop 1'",
        "The past variables selected most",
        "The future variables",
        "The past steps with the most attention",
    ):
        assert piece in result.words


def test_without_a_future_the_last_steps_of_the_table_are_explained(fitted: Forecaster, table: pl.DataFrame) -> None:
    last = table.filter(unique_id="shop 0")["ds"][-HORIZON:]
    assert fitted.explain_forecast("shop 0").forecast["ds"].to_list() == last.to_list()


def test_a_change_of_a_known_value_moves_the_forecast_as_predicting_with_it_does(
    fitted: Forecaster, future: pl.DataFrame
) -> None:
    moved = fitted.what_if({"promotion": 0.0, "level": "high"}, future)
    other = future.with_columns(promotion=pl.lit(0.0), level=pl.lit("high"))
    for name, known in (("before", future), ("after", other)):
        expected = fitted.predict(known)
        for level in (0.1, 0.5, 0.9):
            result = moved.filter(quantile=level)
            assert result["ds"].to_list() == expected["ds"].to_list()
            np.testing.assert_allclose(result[name], expected[f"q{level:g}"], rtol=1e-5)
    np.testing.assert_allclose(moved["difference"], moved["after"] - moved["before"])
    assert (moved["difference"].abs() > 0).any()


def test_changes_may_be_a_value_a_step_or_a_function(fitted: Forecaster) -> None:
    one_each = fitted.what_if({"promotion": [0.0, 1.0, 0.0, 1.0]})
    doubled = fitted.what_if({"promotion": lambda values: values * 0 + [0.0, 1.0, 0.0, 1.0]})
    np.testing.assert_array_equal(one_each["after"], doubled["after"])


def test_numbers_and_booleans_may_be_text(fitted: Forecaster) -> None:
    from_text, from_numbers = (
        fitted.what_if({"promotion": change})["after"] for change in (["0", "1.0", "0", "1"], [0, 1, 0, 1])
    )
    np.testing.assert_array_equal(from_text, from_numbers)
    table = shop_table().with_columns(open=pl.col("promotion") > 0)
    forecaster = Forecaster(HORIZON, LOOKBACK, known=["open"], **TINY).fit(table)
    for change in ("true", "True"):
        result = forecaster.what_if({"open": change})
        np.testing.assert_array_equal(result["after"], forecaster.what_if({"open": True})["after"])


def test_known_values_that_are_missing_may_be_changed(fitted: Forecaster, table: pl.DataFrame) -> None:
    gappy = table.with_columns(promotion=pl.when(pl.col("ds").dt.hour() == 23).then(None).otherwise("promotion"))
    result = fitted.what_if({"promotion": lambda values: values + 1}, data=gappy)
    assert result["after"].is_finite().all()


def test_no_change_changes_nothing(fitted: Forecaster) -> None:
    assert (fitted.what_if({"promotion": lambda values: values})["difference"] == 0).all()


def test_pandas_in_gives_pandas_out(fitted: Forecaster, future: pl.DataFrame) -> None:
    assert isinstance(fitted.what_if({"promotion": 1.0}, future.to_pandas()), pd.DataFrame)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"visitors": 3.0}, "'visitors' is not a known column.*\n.*'promotion', 'level'"),
        ({"promotion": "much"}, "the change of 'promotion' must be a number, or 4 of them, not 'much'"),
        ({"promotion": [1.0, 2.0]}, "4 of them"),
        ({"level": "middling"}, "must be one of 'high', 'low'.*, not 'middling'"),
        ({"promotion": float("nan")}, "the change of 'promotion' must be a number, or 4 of them, not nan"),
        ({"promotion": [0.0, 1.0, float("inf"), 0.0]}, "must be a number, or 4 of them, not "),
        ({"promotion": lambda values: np.full_like(values, np.inf)}, "must be a number, or 4 of them, not "),
        ({"promotion": ""}, "the change of 'promotion' must be a number, or 4 of them, not ''"),
    ],
)
def test_an_impossible_change_is_an_error(changes: dict[str, Any], words: str, fitted: Forecaster) -> None:
    with pytest.raises(ConfigError, match=words):
        fitted.what_if(changes)


def test_a_future_that_lacks_values_is_named(fitted: Forecaster, table: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="'level' lacks values"):
        fitted.explain_forecast("shop 0", future_of(table))


def test_a_series_too_short_for_its_last_forecast_is_explained_with_a_future_or_is_an_error(
    fitted: Forecaster, table: pl.DataFrame
) -> None:
    short = table.filter(unique_id="shop 1").head(HORIZON)
    data = pl.concat([table.filter(pl.col("unique_id") != "shop 1"), short])
    with pytest.raises(DataError, match=r"series 'shop 1' has 4 steps.*\n.*`future`"):
        fitted.explain_forecast("shop 1", data=data)
    known = future_of(data).with_columns(level=pl.lit("low"))
    assert fitted.explain_forecast("shop 1", known, data=data).forecast.height == HORIZON


def test_the_change_of_one_series_can_be_computed_alone(fitted: Forecaster, future: pl.DataFrame) -> None:
    every_series = fitted.what_if({"promotion": 0.0}, future)
    alone = fitted.what_if({"promotion": 0.0}, future, series="shop 1")
    same_series = every_series.filter(unique_id="shop 1")
    assert alone.select("ds", "step", "quantile").equals(same_series.select("ds", "step", "quantile"))
    np.testing.assert_allclose(alone["difference"], same_series["difference"], atol=1e-4)
