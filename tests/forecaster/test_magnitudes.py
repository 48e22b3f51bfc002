"""Values that cannot be scaled are refused before any training; forecasts are finite, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, future_of, shop_table

from fusecast import DataError, Forecaster

ROLES: dict[str, Any] = {"known": ["promotion", "price"], "observed": ["visitors"], "static": ["size"]}


def table() -> pl.DataFrame:
    price = np.random.default_rng(0).normal(20, 1, 360)
    return shop_table().with_columns(price=pl.Series(price), size=pl.Series(np.repeat([1.0, 5.0, 3.0], 120)))


def set_cell(frame: pl.DataFrame, column: str, row: int, value: float) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(column).alias(column))


@pytest.fixture(scope="module")
def fitted() -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table())


@pytest.mark.parametrize("column", ["y", "price", "visitors"])
@pytest.mark.parametrize("value", [1e160, -1.7e308, 9.96921e36, 3.4028235e38, 1e20])
def test_a_sentinel_is_refused_before_training(fitted: Forecaster, column: str, value: float) -> None:
    for row in (137, 239):  # in the training, and in the test rows
        spoiled = set_cell(table(), column, row, value)
        message = rf"'{column}' holds {value:g} in row {row - 120} of the series, at 2024-01-0\d .*, of series 'shop 1'"
        with pytest.raises(DataError, match=message.replace("+", r"\+")):
            Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(spoiled)
        with pytest.raises(DataError, match=message.replace("+", r"\+")):
            fitted.evaluate(data=spoiled)


def test_a_sentinel_among_statics_is_refused(fitted: Forecaster) -> None:
    spoiled = table().with_columns(size=pl.when(unique_id="shop 1").then(9.96921e36).otherwise("size"))
    for ask in (
        lambda: Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(spoiled),
        lambda: fitted.evaluate(data=spoiled),
    ):
        with pytest.raises(DataError, match=r"'size' holds 9.96921e\+36 in every row, of series 'shop 1'"):
            ask()


def test_a_sentinel_in_a_plan_is_refused(fitted: Forecaster) -> None:
    plan = future_of(table()).with_columns(price=pl.lit(20.0))
    spoiled = set_cell(plan, "price", 6, 9.96921e36)
    with pytest.raises(
        DataError, match=r"'price' holds 9.96921e\+36 in row 122 of the series, at .*, of series 'shop 1'"
    ):
        fitted.predict(spoiled)
    with pytest.raises(DataError, match=r"'price' holds 1e\+30 in row 120"):
        fitted.what_if({"price": 1e30}, plan)


def test_large_values_of_the_same_size_are_forecast_in_their_units() -> None:
    huge = table().with_columns(pl.col("y", "visitors") * 1e30)
    forecasts = (
        Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY)
        .fit(huge)
        .predict(future_of(huge).with_columns(price=pl.lit(20.0)))
    )
    assert forecasts["y_hat"].is_between(1e31, 1e33).all()


def test_a_series_of_another_size_than_the_others_is_no_sentinel() -> None:
    mixed = table().with_columns(y=pl.when(unique_id="shop 1").then(pl.col("y") * 1e20).otherwise("y"))
    assert Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(mixed).encoded.reals.max() < 100


@pytest.mark.parametrize("verb", ["predict", "evaluate", "sample", "explain_forecast", "backtest", "report"])
def test_forecasts_that_are_not_finite_leave_no_verb(verb: str, tmp_path: Any) -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY).fit(shop_table())
    with torch.no_grad():
        for parameter in forecaster._bundle.members[0].network.parameters():
            parameter.fill_(float("nan"))
    ask = {
        "predict": forecaster.predict,
        "evaluate": forecaster.evaluate,
        "sample": lambda: forecaster.sample(2, method="independent"),
        "explain_forecast": lambda: forecaster.explain_forecast("shop 1"),
        "backtest": forecaster.backtest,
        "report": lambda: forecaster.report(tmp_path / "report.html"),
    }
    with pytest.raises(DataError, match=r"the forecasts of \d series are not finite numbers: 'shop \d'"):
        ask[verb]()
