"""The face and the command line: calibrate, any levels, samples, backtests, all from a saved run."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table
from typer.testing import CliRunner

from fusecast import Forecaster
from fusecast.cli.app import app
from fusecast.errors import ArtifactError, ConfigError, DataError, FusecastError

SPLIT = {"validation": 0.25, "test": "2024-01-05"}


def future() -> pl.DataFrame:
    last = shop_table().group_by("unique_id", maintain_order=True).agg(pl.col("ds").max())
    steps = pl.DataFrame({"step": list(range(1, HORIZON + 1))})
    return last.join(steps, how="cross").select(
        "unique_id", pl.col("ds") + pl.duration(hours=pl.col("step")), pl.lit(1.0).alias("promotion")
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    table = folder.parent / "table.parquet"
    shop_table().write_parquet(table)
    Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, **TINY).fit(table, folder=folder)
    return folder


def test_any_levels_can_be_asked_for_and_rise(run) -> None:
    forecaster = Forecaster.load(run)
    plain = forecaster.predict(future())
    made = forecaster.predict(future(), quantiles=[0.02, 0.1, 0.3, 0.5, 0.99])
    assert made.columns[-6:] == ["y_hat", "q0.02", "q0.1", "q0.3", "q0.5", "q0.99"]
    np.testing.assert_array_equal(made["q0.1"], plain["q0.1"])
    np.testing.assert_allclose(made["q0.3"], (plain["q0.1"] + plain["q0.5"]) / 2)
    values = made.select(pl.col("^q.*$")).to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()
    with pytest.raises(ConfigError, match="quantiles must increase"):
        forecaster.predict(future(), quantiles=[0.5, 0.2])


@pytest.mark.parametrize("method", ["cqr", "split", "adaptive"])
def test_another_calibration_is_kept_with_the_run_and_applied_unless_raw_quantiles_are_asked_for(
    run, method: str
) -> None:
    forecaster = Forecaster.load(run)
    plain = forecaster.predict(future(), raw=True)
    found = forecaster.calibrate(method)
    assert found.method == method
    again = Forecaster.load(run)
    assert again.calibration is not None
    assert again.calibration.to_dict() == found.to_dict()
    assert again.predict(future(), raw=True).equals(plain)
    shifted = again.predict(future())
    assert not np.allclose(shifted["q0.9"], plain["q0.9"])
    assert shifted.equals(forecaster.predict(future()))
    judged = again.backtest(stride=4, baselines=["last"])
    assert list(judged.grouped_scores) == ["TFT", "TFT raw", "last value"]
    assert judged.baselines == ("last value",)
    assert set(judged.comparisons()["predictor"]) == {"TFT", "TFT raw"}


def test_a_model_without_a_calibration_has_raw_quantiles() -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, **TINY).fit(shop_table())
    assert forecaster.calibration is None
    assert forecaster.predict(future()).equals(forecaster.predict(future(), raw=True))
    assert list(forecaster.backtest(baselines=[]).grouped_scores) == ["TFT"]
    assert "TFT raw" not in forecaster.evaluate().scores


def test_a_damaged_calibration_is_refused(run, tmp_path) -> None:
    forecaster = Forecaster.load(run)
    forecaster.calibrate("cqr")
    config = json.loads((run / "config.json").read_text())
    config["extra"]["calibration"]["shifts"] = "none"
    for file in run.glob("*"):
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="calibration"):
        Forecaster.load(tmp_path).predict(future())


@pytest.mark.parametrize("method", ["gaussian", "empirical", "independent"])
def test_samples_are_paths_around_the_forecast(run, method: str) -> None:
    forecaster = Forecaster.load(run)
    paths = forecaster.sample(200, future(), method=method)
    assert paths.columns == ["unique_id", "ds", "cutoff", "step", "sample", "y"]
    assert paths.height == 3 * 200 * HORIZON
    assert paths.equals(forecaster.sample(200, future(), method=method))
    plain = forecaster.predict(future())
    share = paths.join(plain, on=["unique_id", "ds"]).group_by("step").agg((pl.col("y") <= pl.col("q0.9")).mean())
    np.testing.assert_allclose(share["y"], 0.9, atol=0.05)


def test_samples_without_a_validation_span_are_refused_unless_independent() -> None:
    split = {"validation": 0, "test": "2024-01-05"}
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, split=split, **TINY).fit(shop_table())
    with pytest.raises(DataError, match="0 windows"):
        forecaster.sample(3, future())
    assert forecaster.sample(3, future(), method="independent").height == 3 * 3 * HORIZON
    with pytest.raises(FusecastError, match="validation"):
        forecaster.calibrate()


def test_pandas_in_gives_pandas_out() -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, **TINY).fit(shop_table().to_pandas())
    assert type(forecaster.sample(2, future().to_pandas())).__module__.startswith("pandas")


def test_the_command_line_calibrates_backtests_and_predicts(run, tmp_path) -> None:
    def told(*words: str) -> str:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "Calibrated by adaptive" in told("calibrate", str(run), "--method", "adaptive")
    out = tmp_path / "bt.parquet"
    said = told("backtest", str(run), "--stride", "4", "--baselines", "last,seasonal", "--out", str(out))
    assert "TFT raw" in said
    assert "Diebold-Mariano" in said
    assert {path.name for path in tmp_path.iterdir()} == {"bt.parquet", "bt.metrics.parquet", "bt.json"}
    assert set(pl.read_parquet(out)["predictor"]) == {
        "TFT",
        "TFT raw",
        "last value",
        "seasonal naive 24",
        "seasonal naive 168",
    }
    table = tmp_path / "future.csv"
    future().write_csv(table)
    written = tmp_path / "forecasts.csv"
    told("predict", str(run), "--future", str(table), "--out", str(written), "--quantiles", "0.2,0.8")
    assert pl.read_csv(written).columns[-2:] == ["q0.2", "q0.8"]


def test_origins_that_the_model_has_seen_are_pointed_out(run, tmp_path) -> None:
    words = [
        "backtest",
        str(run),
        "--start",
        "2024-01-03",
        "--end",
        "2024-01-03 12:00",
        "--out",
        str(tmp_path / "b.parquet"),
    ]
    assert "27 of the forecasts lie before the test span" in CliRunner().invoke(app, words).output


@pytest.mark.parametrize("method", ["split", "adaptive"])
def test_calibrated_forecasts_of_what_is_never_negative_are_never_negative(method: str) -> None:
    counts = shop_table().with_columns((pl.col("y") % 3).floor())
    network = {**TINY["network"], "head": "negative_binomial"}
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, **(TINY | {"network": network})).fit(counts)
    forecaster.calibrate(method)
    assert forecaster.predict(future())["q0.1"].min() >= 0
    judged = forecaster.backtest(stride=8, baselines=[]).table
    assert judged.filter(predictor="TFT")["q0.1"].min() >= 0


def test_a_table_without_the_training_span_is_pointed_out(run, tmp_path) -> None:
    recent, out = tmp_path / "recent.parquet", str(tmp_path / "b.parquet")
    shop_table().filter((pl.col("unique_id") != "shop 0") | (pl.col("ds") >= pl.datetime(2024, 1, 5))).write_parquet(
        recent
    )
    said = CliRunner().invoke(app, ["backtest", str(run), "--data", str(recent), "--stride", "4", "--out", out]).output
    assert "Note: 1 of the series evaluated has no row of the training span in this table" in said
    evaluated = CliRunner().invoke(app, ["evaluate", str(run), "--data", str(recent)])
    assert "Note: 1 of the series evaluated" in evaluated.output
    assert "Note" not in CliRunner().invoke(app, ["evaluate", str(run)]).output
    shop_table().filter(pl.col("ds") >= pl.datetime(2024, 1, 5)).write_parquet(recent)
    said = CliRunner().invoke(app, ["evaluate", str(run), "--data", str(recent)]).output
    assert "Note: 3 of the series evaluated have" in said
    assert "nan" not in said


def test_a_test_that_is_not_made_is_said_not_to_be(run, tmp_path) -> None:
    words = ["backtest", str(run), "--baselines", "last", "--out", str(tmp_path / "b.parquet"), "--stride"]
    assert "test of the pinball loss (6 origins are too few)" in CliRunner().invoke(app, [*words, "4"]).output
    assert "too few" not in CliRunner().invoke(app, [*words, "1"]).output


def test_results_are_never_written_over_the_tables_they_are_made_from(run, tmp_path) -> None:
    table, plan = run.parent / "table.parquet", tmp_path / "plan.parquet"
    future().write_parquet(plan)
    (tmp_path / "link.parquet").symlink_to(plan)
    before = table.read_bytes(), plan.read_bytes()
    for words in (
        ["predict", run, "--future", plan, "--out", table],
        ["predict", run, "--future", plan, "--out", tmp_path / "link.parquet"],
        ["backtest", run, "--out", table],
        ["backtest", run, "--data", table, "--out", table],
    ):
        ran = CliRunner().invoke(app, [str(word) for word in words])
        assert isinstance(ran.exception, ArtifactError)
        assert "would be overwritten" in str(ran.exception)
    assert (table.read_bytes(), plan.read_bytes()) == before
    assert not (run.parent / "table.parquet.parts").exists()


@pytest.mark.parametrize("verb", ["predict", "report", "backtest"])
def test_a_folder_in_the_place_of_a_file_is_said_before_the_work(verb: str, run, tmp_path) -> None:
    place = tmp_path / "place.parquet"
    place.mkdir()
    ran = CliRunner().invoke(app, [verb, str(run), "--out", str(place)])
    assert isinstance(ran.exception, ArtifactError)
    assert "is a folder where a file is to be written" in str(ran.exception)


def test_a_predictor_that_is_not_there_is_named(run) -> None:
    with pytest.raises(ConfigError, match=r"a predictor cannot be 'drifts'\n.*'drift'"):
        Forecaster.load(run).backtest(stride=8, baselines=["drift"]).compare("TFT", "drifts")


def test_a_stride_of_nothing_is_refused_in_words(run) -> None:
    with pytest.raises(ConfigError, match="stride must be at least 1, not 0"):
        Forecaster.load(run).evaluate(stride=0)


def test_without_baselines_nothing_is_said_of_the_best_of_them(run, tmp_path) -> None:
    words = ["backtest", str(run), "--stride", "8", "--baselines", "", "--out", str(tmp_path / "b.parquet")]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert "TFT" in ran.output
    assert "beats best" not in ran.output
