"""Tables as people have them: several targets, Arrow, integer names, summer time, month ends, gaps, newcomers."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import DataWarning, Forecaster
from fusecast.errors import SchemaError


def test_several_targets_are_forecast_judged_and_reported_together(tmp_path: Path) -> None:
    table = shop_table()
    forecaster = Forecaster(
        HORIZON, LOOKBACK, target=["y", "visitors"], known=["promotion"], static=["city"], observed=["weather"], **TINY
    ).fit(table)
    forecasts = forecaster.predict(future_of(table))
    assert {"y:y_hat", "y:q0.9", "visitors:y_hat", "visitors:q0.1"} <= set(forecasts.columns)
    # the second target is about three times the first, and is forecast in its own units
    assert forecasts["visitors:y_hat"].mean() > 2 * forecasts["y:y_hat"].mean()
    assert forecaster.evaluate().targets == ("y", "visitors")
    assert "visitors" in forecaster.report(tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("old", "new"), [("ds", "step"), ("unique_id", "target"), ("ds", "q0.5"), ("ds", "actual")])
def test_keys_with_the_name_of_a_column_of_results_are_refused_before_any_training(old: str, new: str) -> None:
    keys = {"time": "ds", "id": "unique_id"}
    keys = {role: new if name == old else name for role, name in keys.items()}
    with pytest.raises(SchemaError, match=f"column '{new}' has the name of a column of every forecast table"):
        Forecaster(HORIZON, LOOKBACK, **keys, **TINY).prepare(shop_table().rename({old: new}))


def test_scenarios_of_a_target_that_is_called_as_one_of_their_columns_are_refused() -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, target="sample", **TINY).fit(shop_table().rename({"y": "sample"}))
    assert "y_hat" in forecaster.predict().columns
    with pytest.raises(SchemaError, match="'sample' has the name of a column of every table of sample paths"):
        forecaster.sample(2, method="independent")


def test_an_arrow_table_with_integer_names_comes_back_as_one() -> None:
    table = shop_table().with_columns(pl.col("unique_id").str.slice(5).cast(pl.Int64)).to_arrow()
    forecasts = Forecaster(HORIZON, LOOKBACK, **TINY).fit(table).predict()
    assert isinstance(forecasts, pa.Table)
    assert forecasts["unique_id"].type == pa.int64()
    assert sorted(set(forecasts["unique_id"].to_pylist())) == [0, 1, 2]


def test_hours_go_on_through_summer_time() -> None:
    utc = pl.datetime_range(pl.datetime(2024, 2, 20), pl.datetime(2024, 3, 30, 23), "1h", eager=True, time_zone="UTC")
    table = pl.DataFrame({"ds": utc.dt.convert_time_zone("Europe/Berlin"), "y": np.sin(np.arange(len(utc)))})
    forecasts = Forecaster(6, 24, **TINY).fit(table).predict()
    ahead = forecasts["ds"].dt.convert_time_zone("UTC")
    assert forecasts["ds"].dtype == pl.Datetime("us", "Europe/Berlin")
    assert set(ahead.diff().drop_nulls().to_list()) == {timedelta(hours=1)}
    assert ahead[0] == utc[-1] + timedelta(hours=1)


def test_month_ends_with_gaps_and_missing_values_go_on_at_month_ends() -> None:
    months = pl.date_range(date(2015, 1, 31), date(2022, 12, 31), "1mo", eager=True).dt.month_end()
    table = pl.DataFrame({"ds": months, "y": np.arange(96.0)})
    table = table.with_columns(y=pl.when(pl.col("y") % 7 == 0).then(None).otherwise("y")).filter(
        pl.col("ds") != months[50]
    )
    forecasts = Forecaster(3, 12, **TINY).fit(table).predict()
    assert forecasts["ds"].to_list() == [date(2023, 1, 31), date(2023, 2, 28), date(2023, 3, 31)]
    assert np.isfinite(forecasts["y_hat"].to_numpy()).all()


def test_a_newer_table_of_few_rows_keeps_the_day_of_the_month_of_the_fit(tmp_path: Path) -> None:
    months = [(year, month) for year in range(2015, 2023) for month in range(1, 13)]
    days = [date(year, month, min(30, monthrange(year, month)[1])) for year, month in months]
    table = pl.DataFrame({"ds": days, "y": np.arange(96.0)})
    Forecaster(3, 12, **TINY).fit(table).save(tmp_path / "model")
    newer = table.filter(pl.col("ds").is_in([date(2022, 9, 30), date(2022, 11, 30)]))  # ends of their months
    with pytest.warns(DataWarning, match="fewer rows before the forecast"):
        forecasts = Forecaster.load(tmp_path / "model").predict(data=newer)
    assert forecasts["ds"].to_list() == [date(2022, 12, 30), date(2023, 1, 30), date(2023, 2, 28)]
    late = pl.DataFrame({"ds": [date(2022, 2, 28), date(2022, 3, 30)], "y": [1.0, 2.0]})  # begins in February
    with pytest.warns(DataWarning, match="fewer rows before the forecast"):
        assert Forecaster.load(tmp_path / "model").predict(data=late)["ds"][0] == date(2022, 4, 30)


def test_a_series_of_six_rows_is_forecast_beside_long_ones() -> None:
    newcomer = shop_table(series=1).head(6).with_columns(unique_id=pl.lit("new"))
    table = pl.concat([shop_table(), newcomer])
    forecasts = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table).predict(future_of(table))
    mine = forecasts.filter(unique_id="new")
    assert mine.height == HORIZON
    assert np.isfinite(mine.select("y_hat", "q0.1", "q0.9").to_numpy()).all()
