from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY

from fusecast import Forecaster
from fusecast.calibration.calibrated_predictor import CalibratedPredictor
from fusecast.data.schema import Column, Kind, Role, Schema
from fusecast.errors import ArtifactError
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.metrics import score
from fusecast.evaluation.significance import coverage_standard_errors
from fusecast.reporting.figures_accuracy import loss_figure
from fusecast.reporting.report_data import ReportData
from fusecast.workflows.calibrate import calibrate, calibrate_bundle
from fusecast.workflows.evaluate import evaluate_run
from fusecast.workflows.report import break_down_scores, collect_report_data, forecast_next_steps, training_curves


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    rng = np.random.default_rng(0)
    steps = np.arange(150)
    frames = [
        pl.DataFrame(
            {"unique_id": [f"s{s}"] * 150, "ds": steps, "y": (s + 1) * np.sin(steps / 3) + rng.normal(0, 0.1, 150)}
        )
        for s in range(3)
    ]
    options = {
        "network": TINY["network"],
        "training": TINY["training"] | {"max_steps": 5},
        "calibration": "none",
    }
    return Forecaster(HORIZON, LOOKBACK, frequency="1i", **options).fit(pl.concat(frames))


@pytest.fixture(scope="module")
def page(forecaster: Forecaster) -> ReportData:
    return collect_report_data(forecaster.prepared, forecaster._bundle, forecaster.predictor)


def test_scores_by_step_and_by_series_are_those_of_the_windows_alone(forecaster: Forecaster) -> None:
    prepared, predictor = forecaster.prepared, forecaster.predictor
    breakdown = break_down_scores(prepared, predictor, evaluate_run(prepared, forecaster._bundle, predictor))
    forecasts = predictor.predict(prepared.encoded, prepared.windows("test", HORIZON))
    truth = gather_actuals(prepared.panel, forecasts.series, forecasts.cutoff, HORIZON)
    for step in range(HORIZON):
        alone = score(forecasts.quantiles[:, step : step + 1], truth[:, step : step + 1], forecasts.levels)[0]
        assert breakdown.by_step["TFT"][step] == pytest.approx(alone.wql)
    for row in breakdown.worst:
        mine = forecasts.series == int(row.series[1:])
        assert row.wql == pytest.approx(score(forecasts.quantiles[mine], truth[mine], forecasts.levels)[0].wql)
    assert [row.skill for row in breakdown.worst] == sorted(row.skill for row in breakdown.worst)


def test_series_on_which_a_baseline_is_exact_are_among_the_worst(forecaster: Forecaster) -> None:
    """The best baseline repeats the value of a series that never moves: no factor states how much better it is."""
    table = forecaster.prepared.panel.to_frame().select("unique_id", "ds", "y")
    still = table.with_columns(y=pl.when(pl.col("unique_id") == "s0").then(7.0).otherwise("y"))
    prepared, predictor = forecaster._prepared_for(still), forecaster.predictor
    breakdown = break_down_scores(prepared, predictor, evaluate_run(prepared, forecaster._bundle, predictor))
    shown = {row.series: row.skill for row in breakdown.worst}
    assert shown["s0"] == -np.inf
    assert breakdown.worse_than_baseline == sum(skill < 0 for skill in shown.values())
    better = [row.series for row in breakdown.worst if row.skill > 0]
    assert [row.series for row in breakdown.worst][-1 - len(better)] == "s0"


def test_a_page_shows_the_last_test_window_and_the_next_steps(page: ReportData, forecaster: Forecaster) -> None:
    plot = page.forecast_plots[1]
    test, coming = plot.forecasts
    assert list(test.times) == [146, 147, 148, 149]
    assert list(coming.times) == [150, 151, 152, 153]
    expected = forecaster.predict().filter(unique_id="s1")
    np.testing.assert_allclose(coming.quantiles[:, 1], expected["q0.5"], rtol=1e-5)
    np.testing.assert_allclose(plot.actual, forecaster.prepared.panel.reals["y"][150:300][-len(plot.actual) :])


def test_nothing_of_a_page_is_missing(page: ReportData) -> None:
    assert page.evaluation is not None
    assert page.timeline is not None
    assert page.agreement is not None
    assert len(page.attention_by_step) == HORIZON
    assert {check.topic for check in page.quality} >= {"Length", "Gaps in time", "Missing values", "Outliers", "Level"}


def test_without_values_of_known_columns_there_are_no_next_steps(tmp_path: Path) -> None:
    steps = np.arange(80)
    table = pl.DataFrame({"ds": steps, "y": np.sin(steps), "price": np.cos(steps)})
    forecaster = Forecaster(HORIZON, 8, frequency="1i", known=["price"], **TINY).fit(table)
    model, first = (forecaster.prepared, forecaster._bundle, forecaster.predictor), np.zeros(1, dtype=np.int64)
    assert forecast_next_steps(*model, None, first) is None
    future = pl.DataFrame({"ds": [80, 81, 82, 83], "price": [0.0] * 4})
    assert forecast_next_steps(*model, future, first) is not None


def test_the_page_of_a_calibrated_model_evaluates_it_beside_the_raw_one(forecaster: Forecaster, tmp_path: Path) -> None:
    prepared, predictor = forecaster.prepared, forecaster.predictor
    bundle = calibrate_bundle(forecaster._bundle, prepared, predictor, "adaptive")
    raw = collect_report_data(prepared, bundle, predictor, raw=True)
    assert raw.calibration_method == ""
    assert list(raw.evaluation.scores)[:2] == ["TFT", "last value"]
    conformal = calibrate(prepared, predictor, "adaptive")
    calibrated = CalibratedPredictor(predictor=predictor, conformal=conformal, since=prepared.splits.valid_end)
    page = collect_report_data(prepared, bundle, predictor)
    assert page.calibration_method == "adaptive"
    assert list(page.evaluation.scores)[:2] == ["TFT", "TFT raw"]
    for stride, evaluation in ((HORIZON, page.evaluation), (1, page.coverage)):
        forecasts = calibrated.predict(prepared.panel, prepared.windows("test", stride))
        alone = score(
            forecasts.quantiles,
            gather_actuals(prepared.panel, forecasts.series, forecasts.cutoff, HORIZON),
            forecasts.levels,
        )[0]
        assert evaluation.scores["TFT"][0].coverage[0.8] == pytest.approx(alone.coverage[0.8])
    assert page.evaluation.scores["TFT raw"] == raw.evaluation.scores["TFT"]
    assert page.breakdown.by_step["TFT"].tolist() != raw.breakdown.by_step["TFT"].tolist()
    assert (
        page.forecast_plots[0].forecasts[0].quantiles.tolist() != raw.forecast_plots[0].forecasts[0].quantiles.tolist()
    )
    (standard_error,) = page.coverage_error
    assert 0 < standard_error[0.8] < 0.2


def test_every_target_has_its_standard_error(forecaster: Forecaster) -> None:
    """Those of each target equal, to the last bit, those of the target alone."""
    prepared, predictor = forecaster.prepared, forecaster.predictor
    panel = prepared.panel
    forecasts = predictor.predict(prepared.encoded, prepared.windows("test"))
    noise = np.random.default_rng(5).normal(size=panel.num_rows)
    noise[::7] = np.nan
    schema = Schema(
        id=panel.schema.id,
        time=panel.schema.time,
        frequency=panel.schema.frequency,
        columns=tuple(Column(name=name, role=Role.TARGET, kind=Kind.REAL) for name in ("y", "noise")),
    )
    two = replace(panel, schema=schema, reals={**panel.reals, "noise": noise})
    first, second = coverage_standard_errors(
        two, replace(forecasts, quantiles=np.concatenate((forecasts.quantiles, forecasts.quantiles / 2), axis=2))
    )
    assert first == coverage_standard_errors(panel, forecasts)[0]
    alone = replace(panel, reals={**panel.reals, "y": noise})
    assert second == coverage_standard_errors(alone, replace(forecasts, quantiles=forecasts.quantiles / 2))[0]
    assert second[0.8] != first[0.8]


def test_a_report_shows_the_calibration_that_is_kept_with_the_run(forecaster: Forecaster, tmp_path: Path) -> None:
    run = Forecaster.from_config(forecaster.config)
    run._prepared, run._bundle = forecaster.prepared, forecaster._bundle
    assert "The quantiles are raw" in run.report(tmp_path / "raw.html").read_text(encoding="utf-8")
    run.calibrate("cqr")
    assert "Calibrated by <code>cqr</code>" in run.report(tmp_path / "calibrated.html").read_text(encoding="utf-8")
    assert (tmp_path / "calibrated.html").stat().st_size < 8e6


def test_a_path_that_cannot_be_written_is_an_error_before_the_work(
    forecaster: Forecaster, tmp_path: Path, monkeypatch
) -> None:
    def work(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("fusecast.workflows.report.collect_report_data", work)
    with pytest.raises(ArtifactError, match="does not exist"):
        forecaster.report(tmp_path / "none" / "report.html")
    with pytest.raises(ArtifactError, match=r"\.png, \.svg, \.pdf"):
        forecaster.report(tmp_path / "report.html", figures=tmp_path / "figures", kind="bmp")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArtifactError, match="is a file"):
        forecaster.report(tmp_path / "report.html", figures=tmp_path / "file")


def test_the_losses_of_every_network_of_an_ensemble_are_drawn() -> None:
    rows = [{"epoch": e, "train_loss": 1.0 - e / 10, "val_loss": 1.1 - e / 10, "lr": 0.1} for e in range(3)]
    alone, three = training_curves(rows), training_curves(rows, [rows[:2], rows, []])
    assert alone is not None
    assert three is not None
    assert len(loss_figure(three).data) == len(loss_figure(alone).data) + 4
