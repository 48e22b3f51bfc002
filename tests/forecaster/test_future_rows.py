"""Tables with rows of the steps to forecast, whose targets are empty: every verb reads them as a plan given apart."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import DataError, DataNote, DataWarning, Forecaster
from fusecast.cli.app import app
from fusecast.workflows.report import plot_forecasts

OPTIONS: dict[str, Any] = {**ROLES, **TINY}
CITY = pl.col("city").forward_fill().over("unique_id")


def one_table(table: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """Append a plan to a table, as competitions do: the columns that are not known are empty there."""
    return pl.concat([table, plan], how="diagonal").sort("unique_id", "ds").with_columns(CITY)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return shop_table()


@pytest.fixture(scope="module")
def plan(table: pl.DataFrame) -> pl.DataFrame:
    return future_of(table).with_columns(promotion=pl.int_range(12) % 2 * 1.0)


@pytest.fixture(scope="module")
def apart(table: pl.DataFrame) -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **OPTIONS).fit(table)


def test_a_fit_with_future_rows_is_that_without_them_and_predicts_them(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame, tmp_path: Path
) -> None:
    with pytest.warns(DataNote, match="'y' is empty at the end of 3 series, from 2024-01-06 00:00:00 on, in up to 4"):
        together = Forecaster(HORIZON, LOOKBACK, **OPTIONS).fit(one_table(table, plan), folder=tmp_path / "run")
    for name, weights in apart.predictor.members[0].network.state_dict().items():
        assert weights.equal(together.predictor.members[0].network.state_dict()[name])
    assert together.prepared.panel.num_rows == len(table)
    assert together.evaluate().to_rows() == apart.evaluate().to_rows()
    ours, theirs = together.backtest().table, apart.backtest().table
    assert ours is not None
    assert ours.equals(theirs)
    expected = apart.predict(plan)
    assert together.predict().equals(expected)
    other = plan.with_columns(promotion=3.0)
    assert together.predict(other).equals(apart.predict(other)), "a plan given apart counts"
    assert together.sample(3).equals(apart.sample(3, plan))
    assert together.what_if({"promotion": 2.0}).equals(apart.what_if({"promotion": 2.0}, plan))
    explained = together.explain_forecast("shop 1").forecast
    assert explained.equals(apart.explain_forecast("shop 1", plan).forecast)
    plots = plot_forecasts(together.prepared, together._bundle, together.predictor, None)
    np.testing.assert_array_equal(plots[0].forecasts[1].quantiles[:, 1], expected["y_hat"][:HORIZON])


def test_a_newer_table_with_future_rows_is_forecast_from_the_last_targets_on(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame
) -> None:
    longer = shop_table(steps=123)
    newer = future_of(longer)
    with pytest.warns(DataNote, match="from 2024-01-06 03:00:00 on, in up to 4 steps: these rows are the steps"):
        forecasts = apart.predict(data=one_table(longer, newer))
    assert forecasts.equals(apart.predict(newer, data=longer))


def test_without_known_columns_the_rows_after_all_targets_are_forecast(table: pl.DataFrame, plan: pl.DataFrame) -> None:
    options = {"static": ["city"], **TINY}
    apart = Forecaster(HORIZON, LOOKBACK, **options).fit(table)
    with pytest.warns(DataNote, match="the steps to forecast .*forecast after their last row: 1 series"):
        both = apart.predict(data=one_table(table, plan.filter(pl.col("unique_id") != "shop 2")))
    assert both.equals(apart.predict())


def test_a_series_without_targets_at_the_end_of_others_lacks_values(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame
) -> None:
    outage = (pl.col("unique_id") == "shop 1") & (pl.col("ds") > table["ds"].max() - timedelta(hours=6))
    broken = table.with_columns(y=pl.when(outage).then(None).otherwise("y"))
    with pytest.warns(DataNote, match=r"in up to 4 steps.* · y empty in the last row of 1 series$"):
        forecasts = apart.predict(data=one_table(broken, plan))
    assert forecasts["cutoff"].unique().to_list() == [table["ds"].max()]
    with pytest.warns(DataNote, match=r"^y empty in the last row of 1 series$"):
        assert forecasts.equals(apart.predict(plan, data=broken))


def test_a_series_whose_rows_end_early_is_forecast_after_its_own_targets(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame
) -> None:
    early = pl.col("unique_id") == "shop 0"
    ended = table.filter(~early | (pl.col("ds") < table["ds"].min() + timedelta(hours=60)))
    plans = pl.concat([future_of(ended).filter(early), plan.filter(~early)])
    with pytest.warns(DataNote, match=r"after their own last target, .*: 1 series \('shop 0'\) · ends differ by up to"):
        forecasts = apart.predict(data=one_table(ended, plans))
    with pytest.warns(DataNote, match=r"^ends differ by up to 60 steps$"):
        assert forecasts.equals(apart.predict(plans, data=ended))
    options = {**OPTIONS, "future_rows": "each"}
    with pytest.warns(DataNote, match="is empty at the end of 3 series, from 2024-01-03 12:00:00 on"):
        panel = Forecaster(HORIZON, LOOKBACK, **options).prepare(one_table(ended, plans)).panel
    assert panel.lengths.tolist() == [60, 120, 120]


def test_series_without_future_rows_are_named_and_not_forecast(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame
) -> None:
    some = one_table(table, plan.filter(pl.col("unique_id") != "shop 1"))
    with pytest.warns(DataNote, match=r"not forecast, as they have no such rows: 1 series \('shop 1'\)"):
        prepared = Forecaster(HORIZON, LOOKBACK, **OPTIONS).prepare(some)
    assert prepared.panel.lengths.tolist() == [120] * 3
    with pytest.warns(DataWarning, match="1 series without rows of the steps to forecast, and so without .*'shop 1'"):
        forecasts = apart.predict(data=some)
    expected = apart.predict(plan)
    # the last bits depend on how many are forecast together, on some processors
    assert_frame_equal(forecasts, expected.filter(pl.col("unique_id") != "shop 1"), rel_tol=1e-6)
    prepared = apart._prepared_for(some)
    with pytest.warns(DataWarning, match="'shop 1'"):
        plots = plot_forecasts(prepared, apart._bundle, apart.predictor, None)
    assert [len(plot.forecasts) for plot in plots] == [2, 1, 2]
    np.testing.assert_allclose(plots[2].forecasts[1].quantiles[:, 1], expected["y_hat"][-HORIZON:], rtol=1e-6)


def test_new_series_with_future_rows_alone_are_forecast_at_these(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame
) -> None:
    newcomer = one_table(table, plan).filter(unique_id="shop 0").tail(HORIZON).with_columns(unique_id=pl.lit("new"))
    with pytest.warns(DataWarning, match="1 series without any known value of the target") as warned:
        forecasts = apart.predict(data=pl.concat([one_table(table, plan), newcomer]))
    assert str(warned[0].message).endswith("new to the model: 1 series ('new')")
    assert forecasts.filter(unique_id="new")["ds"].to_list() == newcomer["ds"].to_list()
    assert forecasts.filter(pl.col("unique_id") != "new").equals(apart.predict(plan))


def test_a_newer_table_with_one_empty_series_is_forecast_and_it_is_named(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame
) -> None:
    others = pl.col("unique_id") != "shop 1"
    newer = table.with_columns(y=pl.when(others).then("y"))
    for data, future in ((newer, plan), (one_table(newer, plan), None)):
        with pytest.warns(DataWarning, match="forecast 1 at the level that they had in the training: 'shop 1'"):
            forecasts = apart.predict(future, data=data)
        assert forecasts.filter(others).equals(apart.predict(plan).filter(others))
        assert forecasts["ds"].to_list() == plan["ds"].to_list()


@pytest.mark.parametrize("rows", [2, 9])
def test_fewer_or_more_future_rows_than_the_horizon(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame, rows: int
) -> None:
    data = one_table(table, future_of(table, rows))
    if rows > HORIZON:
        with pytest.warns(DataNote, match="steps after the horizon of 4 are not forecast"):
            assert apart.predict(data=data).equals(apart.predict(future_of(table)))
        return
    with (
        pytest.warns(DataNote, match="fewer rows than the horizon of 4: 3 series"),
        pytest.raises(DataError, match=r"'promotion' lacks values in the 4 steps(.|\n)*partial"),
    ):
        apart.predict(data=data)
    with pytest.warns(DataWarning, match="which are masked.*'promotion' 6 values of 3 series"):
        forecasts = apart.predict(data=data, partial=True)
    assert forecasts["y_hat"].is_finite().all()
    assert forecasts["ds"].to_list() == plan["ds"].to_list()


def test_a_row_is_of_the_future_only_where_all_targets_are_empty_to_the_end() -> None:
    table = shop_table().with_columns(z=pl.col("y") * 2)
    last = pl.int_range(pl.len()).over("unique_id") - pl.len().over("unique_id")
    late = table.with_columns(
        y=pl.when(last < -6).then("y"), z=pl.when(last < -3).then("z"), visitors=pl.when(last < -3).then("visitors")
    )
    with pytest.warns(DataNote, match=r"'y' and 'z' is empty at the end of 3 series.* · y empty in the last row of 3"):
        prepared = Forecaster(3, LOOKBACK, target=["y", "z"], **OPTIONS).prepare(late)
    assert prepared.panel.lengths.tolist() == [117] * 3


def test_empty_targets_are_missing_values_where_that_is_wanted_and_in_a_table_without_any_target(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame
) -> None:
    data = one_table(table, plan)
    with pytest.warns(DataNote, match=r"^y empty in the last row of 3 series$"):
        prepared = Forecaster(HORIZON, LOOKBACK, future_rows="none", **OPTIONS).prepare(data)
    assert prepared.panel.lengths.tolist() == [124] * 3
    with pytest.warns(DataWarning, match="3 series without any known value of the target"), pytest.warns(DataNote):
        forecasts = apart.predict(future_of(data), data=data.with_columns(y=pl.lit(None, pl.Float64)))
    assert forecasts["ds"].min() == plan["ds"].max() + timedelta(hours=1)


def test_the_command_line_forecasts_future_rows_and_says_so_beside_its_results(
    apart: Forecaster, table: pl.DataFrame, plan: pl.DataFrame, tmp_path: Path
) -> None:
    one_table(table, plan).write_csv(tmp_path / "table.csv")
    inspected = CliRunner().invoke(app, ["inspect", str(tmp_path / "table.csv")])
    assert "'y' is empty after 2024-01-05 23:00:00, in up to 4 rows of 3 series: `fit` takes these rows as" in (
        inspected.output
    )
    assert "--horizon 4" in inspected.output
    apart.save(tmp_path / "run")
    words = ["--data", str(tmp_path / "table.csv"), "--out", str(tmp_path / "out.csv")]
    ran = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), *words])
    assert ran.exit_code == 0, ran.output
    assert ran.stderr.startswith("Note: 'y' is empty at the end of 3 series, from 2024-01-06 00:00:00 on")
    assert "is empty" not in ran.stdout
    forecasts = pl.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(forecasts["y_hat"], apart.predict(plan)["y_hat"], rtol=1e-6)
