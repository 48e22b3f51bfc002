"""Plans and changes of some series, and how series are named."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, future_of, shop_table

from fusecast import Forecaster
from fusecast.errors import ConfigError, DataError, DataNote, DataWarning


def test_the_plan_of_the_series_asked_for_is_enough(fitted: Forecaster, future: pl.DataFrame) -> None:
    own = future.filter(unique_id="shop 1")
    broken = pl.concat([own, future.filter(unique_id="shop 0").head(2), future.filter(unique_id="shop 0").head(2)])
    for plan in (own, broken):  # what is said of others is not looked at
        one = fitted.explain_forecast("shop 1", plan)
        assert one.forecast.equals(fitted.explain_forecast("shop 1", future).forecast)
        moved = fitted.what_if({"promotion": 0.0}, plan, series="shop 1")
        assert moved.equals(fitted.what_if({"promotion": 0.0}, future, series="shop 1"))
    two = fitted.what_if({"promotion": 0.0}, future, series=["shop 2", "shop 0", "shop 2"])
    everybody = fitted.what_if({"promotion": 0.0}, future).filter(pl.col("unique_id") != "shop 1")
    assert two.drop("after", "before", "difference").equals(everybody.drop("after", "before", "difference"))
    np.testing.assert_allclose(two["after"], everybody["after"], rtol=1e-5)


def test_of_a_plan_that_lacks_rows_only_the_series_asked_for_are_named(
    fitted: Forecaster, future: pl.DataFrame
) -> None:
    plan = pl.concat([future.filter(unique_id="shop 1").head(2), future.filter(unique_id="shop 2")])
    for ask in (
        lambda: fitted.explain_forecast("shop 1", plan),
        lambda: fitted.what_if({"level": "low"}, plan, series=["shop 1", "shop 2"]),
    ):
        with pytest.raises(DataError, match=r"'promotion' lacks values .* for 1 series: 'shop 1'; the first at 2024"):
            ask()
    with pytest.raises(DataError, match="for 1 series: 'shop 0'; the first at"):
        fitted.explain_forecast("shop 0", plan)
    with pytest.raises(DataError, match="for 2 series: 'shop 0', 'shop 1'"):
        fitted.what_if({"level": "low"}, plan)


def test_a_plan_of_series_that_do_not_exist_is_refused(fitted: Forecaster, future: pl.DataFrame) -> None:
    plan = pl.concat([future.filter(unique_id="shop 1"), future.with_columns(unique_id=pl.lit("shop 9")).head(1)])
    with pytest.raises(DataError, match="'shop 9'"):
        fitted.explain_forecast("shop 1", plan)


def test_a_plan_that_is_not_read_is_said_with_what_newer_rows_are_given_as() -> None:
    table = shop_table().select("unique_id", "ds", "y")
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY).fit(table.head(-HORIZON))
    expected = forecaster.predict()
    for ask in (lambda: forecaster.predict(table), lambda: forecaster.sample(2, table)):
        with pytest.warns(DataWarning, match=r"^the future table is not read: the model has no known .*\n.*as `data`"):
            cutoffs = ask()["cutoff"].unique()
        assert cutoffs.sort().equals(expected["cutoff"].unique().sort())


@pytest.mark.filterwarnings("ignore:id column 'unique_id' holds the same number")
def test_names_with_leading_zeros_keep_them_in_a_plan_of_text(tmp_path: Path) -> None:
    names = {"shop 0": "007", "shop 1": "7"}
    table = shop_table(2).select(pl.col("unique_id").replace(names), "ds", "y", "promotion")
    forecaster = Forecaster(HORIZON, LOOKBACK, known=["promotion"], **TINY).fit(table)
    plan = future_of(table).with_columns(promotion=pl.when(pl.col("unique_id") == "7").then(1.0).otherwise(0.0))
    plan.write_csv(tmp_path / "plan.csv")
    assert forecaster.predict(tmp_path / "plan.csv").equals(forecaster.predict(plan))


def test_targets_of_a_plan_are_not_read_and_a_note_counts_them(fitted: Forecaster, future: pl.DataFrame) -> None:
    expected = fitted.predict(future)
    text = pl.when(pl.col("unique_id") == "shop 1").then(pl.lit("3.5")).otherwise(pl.lit("NA"))
    for y, words in ((text, f"{HORIZON} values"), (pl.lit(1.0), f"{3 * HORIZON} values")):
        with pytest.warns(DataNote, match=rf"^the future table holds {words} of 'y', which are not read.*`data`"):
            forecast = fitted.predict(future.with_columns(y=y))
        assert forecast.equals(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.predict(future.with_columns(y=pl.lit(None, pl.Float64)))


def test_a_plan_without_ids_is_that_of_the_series_asked_for(fitted: Forecaster, future: pl.DataFrame) -> None:
    plan = future.filter(unique_id="shop 1")
    found = fitted.explain_forecast("shop 1", plan.drop("unique_id"))
    assert found.forecast.equals(fitted.explain_forecast("shop 1", plan).forecast)


def test_a_series_may_be_named_as_the_table_has_it() -> None:
    numbers = shop_table(2).with_columns(unique_id=pl.col("unique_id").str.slice(5).cast(pl.Float64))
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY).fit(numbers)
    expected = forecaster.explain_forecast("1").forecast
    for name in (1, 1.0, np.float64(1), np.int64(1)):
        assert forecaster.explain_forecast(name).forecast.equals(expected)
        assert forecaster.explain(series=name).windows == forecaster.explain(series=["1"]).windows
    both = numbers["unique_id"].unique()
    assert forecaster.explain(series=both).windows == forecaster.explain().windows
    with pytest.raises(ConfigError, match=r"there is no series 1\.5"):
        forecaster.explain(series=1.5)


def test_changes_of_no_series_and_of_series_too_short_are_refused_in_words(
    fitted: Forecaster, table: pl.DataFrame
) -> None:
    with pytest.raises(ConfigError, match="the list of series to explain is empty"):
        fitted.what_if({"promotion": 0.0}, series=[])
    short = table.filter(unique_id="shop 1").head(HORIZON)
    data = pl.concat([table.filter(pl.col("unique_id") != "shop 1"), short])
    with pytest.raises(DataError, match="series 'shop 1' has 4 steps"):
        fitted.what_if({"promotion": 0.0}, data=data, series=["shop 0", "shop 1"])
    left = fitted.what_if({"promotion": 0.0}, data=data)
    assert left["unique_id"].unique().sort().to_list() == ["shop 0", "shop 2"]
    with pytest.raises(DataError, match="series 'shop 1' has 4 steps"):
        fitted.what_if({"promotion": 0.0}, data=short)
