from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fusecast import Forecaster
from fusecast.errors import ArtifactError, ConfigError, DataError

from .tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return shop_table().with_columns(level=pl.Series(["low", "high"] * 180))


@pytest.fixture(scope="module")
def fitted(table: pl.DataFrame) -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **{**ROLES, "known": ["promotion", "level"]}, **TINY).fit(table)


@pytest.fixture(scope="module")
def future(table: pl.DataFrame) -> pl.DataFrame:
    return future_of(table).with_columns(level=pl.lit("low"))


def test_a_span_is_explained_whole_or_thinned(fitted: Forecaster) -> None:
    whole = fitted.explain(part="all", max_windows=None)
    assert whole.windows == 3 * (120 - LOOKBACK - HORIZON + 1)
    thin = fitted.explain(part="all", max_windows=50)
    assert 20 <= thin.windows <= 50
    hours = thin.regimes.to_frame(fitted.prepared.panel)["time"].dt.hour()
    assert hours.n_unique() == thin.windows // 3  # no hour twice; the stride that thinning gives, 6, would see four


def test_one_series_can_be_looked_at_alone(fitted: Forecaster) -> None:
    found = fitted.explain(series="shop 1")
    assert found.regimes.to_frame(fitted.prepared.panel)["series"].unique().to_list() == ["shop 1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"series": "shop 9"}, "there is no series 'shop 9'"),
        ({"part": "tests"}, "did you mean 'test'"),
        ({"series": []}, "no window lies in the span"),
        ({"max_windows": -1}, "windows to explain"),
        ({"permutation": -1}, "windows to shuffle over"),
        ({"threshold": -0.1}, "the distance from which a forecast is flagged must lie in"),
        ({"threshold": float("nan")}, "the distance from which a forecast is flagged"),
    ],
)
def test_what_cannot_be_explained_is_said(options: dict[str, Any], words: str, fitted: Forecaster) -> None:
    with pytest.raises(ConfigError, match=words):
        fitted.explain(**options)


def test_one_forecast_is_explained_in_words_and_tables(fitted: Forecaster, future: pl.DataFrame) -> None:
    found = fitted.explain_forecast("shop 1", future)
    assert found.forecast["ds"].to_list() == fitted.predict(future).filter(unique_id="shop 1")["ds"].to_list()
    np.testing.assert_allclose(found.forecast["y_hat"], fitted.predict(future).filter(unique_id="shop 1")["y_hat"])
    shares = found.variables.group_by("group").agg(pl.col("weight").sum())
    np.testing.assert_allclose(shares["weight"], 1.0, atol=1e-5)
    assert found.steps["attention"].sum() == pytest.approx(1.0, abs=1e-5)
    assert found.steps.filter(position=-1)["y"].item() == pytest.approx(
        fitted.prepared.panel.to_frame().filter(unique_id="shop 1")["y"][-1]
    )
    assert found.steps.filter(pl.col("position") >= 0)["y"].is_null().all()
    for piece in ("'shop 1'", "Of what has been", "Of what is known to come", "looks back most"):
        assert piece in found.words


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
            found = moved.filter(quantile=level)
            assert found["ds"].to_list() == expected["ds"].to_list()
            np.testing.assert_allclose(found[name], expected[f"q{level:g}"], rtol=1e-5)
    np.testing.assert_allclose(moved["difference"], moved["after"] - moved["before"])
    assert (moved["difference"].abs() > 0).any()


def test_changes_may_be_a_value_a_step_or_a_function(fitted: Forecaster) -> None:
    one_each = fitted.what_if({"promotion": [0.0, 1.0, 0.0, 1.0]})
    doubled = fitted.what_if({"promotion": lambda values: values * 0 + [0.0, 1.0, 0.0, 1.0]})
    np.testing.assert_array_equal(one_each["after"], doubled["after"])


def test_numbers_and_truths_may_be_written_as_text(fitted: Forecaster) -> None:
    written, said = (
        fitted.what_if({"promotion": change})["after"] for change in (["0", "1.0", "0", "1"], [0, 1, 0, 1])
    )
    np.testing.assert_array_equal(written, said)
    table = shop_table().with_columns(open=pl.col("promotion") > 0)
    forecaster = Forecaster(HORIZON, LOOKBACK, known=["open"], **TINY).fit(table)
    for change in ("true", "True"):
        found = forecaster.what_if({"open": change})
        np.testing.assert_array_equal(found["after"], forecaster.what_if({"open": True})["after"])


def test_a_plan_whose_values_are_unknown_may_be_moved(fitted: Forecaster, table: pl.DataFrame) -> None:
    gappy = table.with_columns(promotion=pl.when(pl.col("ds").dt.hour() == 23).then(None).otherwise("promotion"))
    found = fitted.what_if({"promotion": lambda values: values + 1}, data=gappy)
    assert found["after"].is_finite().all()


def test_no_change_changes_nothing(fitted: Forecaster) -> None:
    assert (fitted.what_if({"promotion": lambda values: values})["difference"] == 0).all()


def test_asking_in_pandas_answers_in_pandas(fitted: Forecaster, future: pl.DataFrame) -> None:
    assert isinstance(fitted.what_if({"promotion": 1.0}, future.to_pandas()), pd.DataFrame)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"visitors": 3.0}, "'visitors' is no known column.*\n.*'promotion', 'level'"),
        ({"promotion": "much"}, "the change of 'promotion' is 'much', and a number, or 4 of them"),
        ({"promotion": [1.0, 2.0]}, "4 of them"),
        ({"level": "middling"}, "'middling', and one of 'high', 'low'"),
        ({"promotion": float("nan")}, "the change of 'promotion' is nan, and a number"),
        ({"promotion": [0.0, 1.0, float("inf"), 0.0]}, "and a number, or 4 of them"),
        ({"promotion": lambda values: np.full_like(values, np.inf)}, "and a number, or 4 of them"),
        ({"promotion": ""}, "the change of 'promotion' is '', and a number"),
    ],
)
def test_a_change_that_cannot_be_is_refused_in_words(changes: dict[str, Any], words: str, fitted: Forecaster) -> None:
    with pytest.raises(ConfigError, match=words):
        fitted.what_if(changes)


def test_a_future_that_lacks_values_is_named(fitted: Forecaster, table: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="'level' lacks values"):
        fitted.explain_forecast("shop 0", future_of(table))


def test_the_command_line_writes_tables_figures_and_words(
    fitted: Forecaster, table: pl.DataFrame, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from fusecast.cli.app import app

    run, data = fitted.save(tmp_path / "run"), tmp_path / "table.parquet"
    table.write_parquet(data)
    options = ["--series", "shop 1", "--what-if", "promotion=0", "--figures", "svg", "--shuffle", "20"]
    ran = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), *options])
    assert ran.exit_code == 0, ran.output
    written = {path.name for path in (run / "explanation").iterdir()}
    assert {"importances.csv", "regimes.svg", "agreement.csv", "what_if.csv", "series_1_steps.csv"} <= written
    assert "rank correlation" in (run / "explanation" / "explanation.txt").read_text()
    assert "Median with promotion=0\n" in ran.output
    assert pl.read_csv(run / "explanation" / "what_if.csv")["unique_id"].unique().to_list() == ["shop 1"]
    again = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), "--figures", "none", "--shuffle", "0"])
    assert again.exit_code == 0, again.output
    left = {path.name for path in (run / "explanation").iterdir()}
    assert not left & {"regimes.svg", "agreement.csv", "what_if.csv", "series_1_steps.csv"}
    assert "importances.csv" in left


def test_a_series_too_new_for_the_span_is_explained_by_its_next_forecast(
    fitted: Forecaster, table: pl.DataFrame, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from fusecast.cli.app import app

    run, data, plan = fitted.save(tmp_path / "run"), tmp_path / "table.parquet", tmp_path / "plan.parquet"
    new = table.filter(unique_id="shop 1").head(3).with_columns(unique_id=pl.lit("new"))
    pl.concat([table, new]).write_parquet(data)
    future_of(new).with_columns(level=pl.lit("low")).write_parquet(plan)
    ask = ["explain", str(run), "--data", str(data), "--series", "new", "--figures", "none"]
    ran = CliRunner().invoke(app, [*ask, "--future", str(plan), "--what-if", "promotion=0"])
    assert ran.exit_code == 0, ran.output
    assert "Series 'new', 4 h from 2024-01-01 03:00:00" in ran.output
    assert "no window lies in the span to explain, 'test'" in ran.output
    written = {path.name for path in (run / "explanation").iterdir() if path.name[0] != "."}
    assert written == {"series_1_forecast.csv", "series_1_variables.csv", "series_1_steps.csv", "what_if.csv"}
    nothing = CliRunner().invoke(
        app, ["explain", str(run), "--data", str(data), "--series", "new", "--figures", "none"]
    )
    assert isinstance(nothing.exception, DataError)


def test_a_mistake_in_a_change_is_said_before_the_work(fitted: Forecaster, table: pl.DataFrame, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from fusecast.cli.app import app

    run, data = fitted.save(tmp_path / "run"), tmp_path / "table.parquet"
    table.write_parquet(data)
    ran = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), "--what-if", "visitors=3"])
    assert isinstance(ran.exception, ConfigError)
    assert not (run / "explanation").exists()
    ran = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), "--out", str(data)])
    assert isinstance(ran.exception, ArtifactError)
    assert "is a file" in str(ran.exception)


def test_a_series_too_short_for_its_last_forecast_is_explained_with_a_future_or_refused_in_words(
    fitted: Forecaster, table: pl.DataFrame
) -> None:
    short = table.filter(unique_id="shop 1").head(HORIZON)
    data = pl.concat([table.filter(pl.col("unique_id") != "shop 1"), short])
    with pytest.raises(DataError, match=r"series 'shop 1' has 4 steps.*\n.*`future`"):
        fitted.explain_forecast("shop 1", data=data)
    known = future_of(data).with_columns(level=pl.lit("low"))
    assert fitted.explain_forecast("shop 1", known, data=data).forecast.height == HORIZON


def test_the_change_of_one_series_can_be_asked_for_alone(fitted: Forecaster, future: pl.DataFrame) -> None:
    everybody = fitted.what_if({"promotion": 0.0}, future)
    alone = fitted.what_if({"promotion": 0.0}, future, series="shop 1")
    own = everybody.filter(unique_id="shop 1")
    assert alone.select("ds", "step", "quantile").equals(own.select("ds", "step", "quantile"))
    np.testing.assert_allclose(alone["difference"], own["difference"], atol=1e-4)


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
    with pytest.raises(ConfigError, match="the list of series to look at is empty"):
        fitted.what_if({"promotion": 0.0}, series=[])
    short = table.filter(unique_id="shop 1").head(HORIZON)
    data = pl.concat([table.filter(pl.col("unique_id") != "shop 1"), short])
    with pytest.raises(DataError, match="series 'shop 1' has 4 steps"):
        fitted.what_if({"promotion": 0.0}, data=data, series=["shop 0", "shop 1"])
    left = fitted.what_if({"promotion": 0.0}, data=data)
    assert left["unique_id"].unique().sort().to_list() == ["shop 0", "shop 2"]
    with pytest.raises(DataError, match="series 'shop 1' has 4 steps"):
        fitted.what_if({"promotion": 0.0}, data=short)


def test_the_change_of_each_target_is_printed_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from fusecast.cli import show

    moved = pl.DataFrame(
        {
            "unique_id": ["a"] * 4, "step": [1, 1, 2, 2], "target": ["y", "z"] * 2, "quantile": [0.4] * 4,
            "before": [1.0, 100.0, 2.0, 200.0], "after": [3.0, 500.0, 5.0, 700.0],
            "difference": [2.0, 400.0, 3.0, 500.0],
        }
    )  # fmt: skip
    show.what_if(moved, ["price=1"])
    said = capsys.readouterr().out
    assert "0.4 quantile of y with price=1\n" in said
    assert [line.split() for line in said.splitlines() if line.strip()[:1] in ("1", "2")] == [
        ["1", "1", "3", "2"], ["2", "2", "5", "3"], ["1", "100", "500", "400"], ["2", "200", "700", "500"],
    ]  # fmt: skip
