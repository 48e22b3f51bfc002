"""`fit` calibrates: what is learned, kept and applied by default, from Python and on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import pytorch_lightning
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import Forecaster
from fusecast.calibration.calibrated_predictor import CalibratedPredictor
from fusecast.cli.app import app
from fusecast.errors import ArtifactError, ConfigError, DataError
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import (
    CALIBRATION,
    CALIBRATION_AHEAD,
    calibrate,
    predictor_ahead,
    stored_calibration_ahead,
)

SPLIT = {"validation": 0.25, "test": 0.2}
QUANTILES = ["q0.1", "q0.5", "q0.9"]


def fit(folder: Path | None = None, table: Any = None, calibration: str = "auto", **options: Any) -> Forecaster:
    options = {**TINY, "split": SPLIT, **options, "calibration": calibration}
    return Forecaster(HORIZON, LOOKBACK, **ROLES, **options).fit(
        shop_table() if table is None else table, folder=folder
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrated") / "run"


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Forecaster:
    table = folder.parent / "table.parquet"
    shop_table().write_parquet(table)
    return fit(folder, table)


def test_fit_says_and_keeps_what_it_has_learned_from_the_validation_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = fit(tmp_path / "run")
    said = capsys.readouterr().err
    assert "calibrated by adaptive on 81 windows of the validation rows (27 origins a series at most, 4 steps" in said
    learned = calibrate(fitted.prepared, fitted.predictor, "auto")
    assert fitted.calibration is not None
    assert fitted.calibration.to_dict() == learned.to_dict()
    loaded = Forecaster.load(tmp_path / "run")
    assert loaded.calibration is not None
    assert loaded.calibration.to_dict() == learned.to_dict()
    assert loaded.predict(future_of(shop_table()), data=shop_table()).equals(fitted.predict(future_of(shop_table())))


def test_raw_quantiles_are_those_of_the_networks_bit_for_bit(fitted: Forecaster) -> None:
    future, plain = future_of(shop_table()), fit(calibration="none")
    assert fitted.predict(future, raw=True).equals(plain.predict(future))
    assert not fitted.predict(future).select(QUANTILES).equals(plain.predict(future).select(QUANTILES))
    levels = [0.05, 0.5]
    assert fitted.predict(future, quantiles=levels, raw=True).equals(plain.predict(future, quantiles=levels))
    assert fitted.sample(3, future, raw=True).equals(plain.sample(3, future))
    assert fitted.evaluate(raw=True).to_dict() == plain.evaluate().to_dict()
    assert fitted.backtest(stride=5, raw=True).to_dict() == plain.backtest(stride=5).to_dict()
    changes = {"promotion": 0.0}
    assert fitted.what_if(changes, future, raw=True).equals(plain.what_if(changes, future))
    one = [
        each.forecast
        for each in (fitted.explain_forecast("shop 0", future, raw=True), plain.explain_forecast("shop 0", future))
    ]
    assert one[0].equals(one[1])


def test_every_verb_that_shows_quantiles_shows_the_calibrated_ones(fitted: Forecaster) -> None:
    future = future_of(shop_table())
    forecasts = fitted.predict(future).filter(unique_id="shop 1")
    explained = fitted.explain_forecast("shop 1", future).forecast
    np.testing.assert_allclose(explained.select(QUANTILES).to_numpy(), forecasts.select(QUANTILES).to_numpy())
    before = fitted.what_if({"promotion": 0.0}, future, series="shop 1")["before"].to_numpy()
    np.testing.assert_allclose(before.reshape(HORIZON, 3), forecasts.select(QUANTILES).to_numpy())
    paths = fitted.sample(400, future, method="independent").join(fitted.predict(future), on=["unique_id", "ds"])
    assert paths.select((pl.col("y") <= pl.col("q0.9")).mean()).item() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("method", ["cqr", "split", "adaptive"])
def test_scores_are_those_of_the_calibration_of_the_validation_rows_and_the_raw_ones_are_beside(method: str) -> None:
    fitted = fit(calibration=method)
    prepared = fitted.prepared
    shifted = CalibratedPredictor(
        predictor=fitted.predictor,
        conformal=calibrate(prepared, fitted.predictor, method),  # type: ignore[arg-type]
        since=prepared.splits.valid_end,
    ).predict(prepared.panel, prepared.windows("test", 5))
    result = fitted.backtest(stride=5, baselines=["last"])
    assert list(result.grouped_scores) == ["TFT", "TFT raw", "last value"]
    assert result.table is not None
    table = result.table.filter(predictor="TFT").select(QUANTILES).to_numpy()
    np.testing.assert_allclose(np.sort(table.ravel()), np.sort(shifted.quantiles.ravel()), rtol=1e-6)
    assert list(fitted.evaluate().scores)[:2] == ["TFT", "TFT raw"]
    assert fitted.evaluate().baselines == tuple(list(fitted.evaluate().scores)[2:])


@pytest.mark.parametrize("method", ["cqr", "split"])
def test_forecasts_beyond_the_table_are_shifted_by_what_all_rows_after_training_show(method: str) -> None:
    """As the calibration of a run whose validation split ends where its test split does."""
    fitted = fit(calibration=method)
    ahead = stored_calibration_ahead(fitted._bundle)
    assert fitted.calibration is not None
    assert ahead is not None
    assert ahead.windows > fitted.calibration.windows
    prepared, splits = fitted.prepared, fitted.prepared.splits
    whole = replace(prepared, splits=replace(splits, valid_end=prepared.panel.lengths))
    np.testing.assert_array_equal(ahead.shifts, calibrate(whole, fitted.predictor, method).shifts)  # type: ignore[arg-type]


def test_an_adaptive_calibration_has_followed_the_test_rows_when_it_forecasts_the_next_steps(
    fitted: Forecaster,
) -> None:
    """As bundles of earlier versions do at every call; these use the outcomes of windows that are not over, too."""
    future, bundle = future_of(shop_table()), fitted._bundle
    assert bundle is not None

    def quantiles(**extra: Any) -> Any:
        model = Forecaster.from_config(fitted.config)
        model._prepared, model._bundle = fitted.prepared, replace(bundle, extra={**bundle.extra, **extra})
        return model.predict(future).select(QUANTILES).to_numpy()

    of_every_call, now = quantiles(**{CALIBRATION_AHEAD: None}), quantiles()
    not_followed = bundle.extra[CALIBRATION_AHEAD] | {"shifts": bundle.extra[CALIBRATION]["shifts"]}
    distance = np.abs(now - of_every_call).mean()
    assert distance < 0.5 * np.abs(quantiles(**{CALIBRATION_AHEAD: not_followed}) - of_every_call).mean()


def test_an_adaptive_calibration_follows_rows_that_have_come_since_the_fit_and_no_others(fitted: Forecaster) -> None:
    """Where the last rows of the fit have other values now, the shifts do not follow them a second time."""
    panel = fitted.prepared.panel

    def shifts(table: pl.DataFrame) -> np.ndarray:
        model = fitted._model(table, None)
        predictor = predictor_ahead(*model, model[0].panel)
        assert isinstance(predictor, CalibratedPredictor)
        assert (predictor.since == panel.lengths).all()
        index = WindowIndex.at_end(lengths=model[0].panel.lengths, lookback=LOOKBACK, horizon=HORIZON)
        return predictor.adaptive_shifts(model[0].panel, index)[0]

    ahead = stored_calibration_ahead(fitted._bundle)
    assert ahead is not None
    np.testing.assert_array_equal(shifts(shop_table()), ahead.shifts)
    assert not np.allclose(shifts(shop_table(steps=160)), ahead.shifts)


@pytest.mark.parametrize("method", ["cqr", "adaptive"])
@pytest.mark.parametrize("final", ["none", "refit"])
def test_steps_of_the_table_of_the_fit_are_forecast_without_what_their_own_values_have_taught(
    method: str, final: str
) -> None:
    fitted = fit(calibration=method, training=TINY["training"] | {"final": final})
    bundle, earlier = fitted._bundle, shop_table(steps=100)
    assert bundle is not None
    learned = dict(bundle.extra[CALIBRATION_AHEAD])
    other = Forecaster.from_config(fitted.config)
    shifts = (np.asarray(learned["shifts"]) + 10.0).tolist()  # as if the values of the test rows had been others
    changed = {**bundle.extra, CALIBRATION_AHEAD: {**learned, "shifts": shifts}}
    other._prepared, other._bundle = fitted.prepared, replace(bundle, extra=changed)

    def ask(model: Forecaster) -> dict[str, pl.DataFrame]:
        return {
            "future": model.predict(future_of(shop_table())),
            "earlier": model.predict(future_of(earlier), data=earlier),
            "last steps": model.what_if({"promotion": 0.0}),
            "explained": model.explain_forecast("shop 0").forecast,
        }

    one, two = ask(fitted), ask(other)
    assert {name for name in one if not one[name].equals(two[name])} == {"future"}
    scored = fitted.backtest(stride=1, baselines=[]).table
    assert scored is not None
    expected = scored.filter(predictor="TFT", unique_id="shop 0").tail(HORIZON).select(QUANTILES).to_numpy()
    found = one["last steps"].filter(unique_id="shop 0")["before"].to_numpy().reshape(HORIZON, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_resumed_run_ends_with_the_same_bundle(tmp_path: Path) -> None:
    training = TINY["training"] | {"max_epochs": 3, "max_steps": 12, "windows_per_epoch": 64}
    fit(tmp_path / "whole", training=training)
    fit(tmp_path / "stopped", training=training | {"max_steps": 4})
    again = Forecaster(
        HORIZON, LOOKBACK, **ROLES, **{**TINY, "split": SPLIT, "calibration": "auto", "training": training}
    )
    again.fit(shop_table(), folder=tmp_path / "stopped", resume=True)
    whole, resumed = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("whole", "stopped"))
    assert whole["extra"][CALIBRATION] == resumed["extra"][CALIBRATION]
    assert whole == resumed


def test_several_networks_are_calibrated_as_their_average() -> None:
    fitted = fit(training=TINY["training"] | {"members": 2, "accelerator": "cpu"})
    assert fitted.calibration is not None
    assert len(fitted.predictor.members) == 2
    assert fitted.calibration.to_dict() == calibrate(fitted.prepared, fitted.predictor, "auto").to_dict()


def test_a_run_that_was_interrupted_is_calibrated_too() -> None:
    class CtrlCInSecondEpoch(pytorch_lightning.Callback):
        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    training = TINY["training"] | {"max_epochs": 2, "max_steps": None, "windows_per_epoch": 32}
    options = TINY | {"split": SPLIT, "calibration": "auto", "training": training}
    fitted = Forecaster(HORIZON, LOOKBACK, **ROLES, **options).fit(shop_table(), callbacks=[CtrlCInSecondEpoch()])
    assert fitted.result is not None
    assert fitted.result.interrupted
    assert fitted.calibration is not None
    assert fitted.calibration.to_dict() == calibrate(fitted.prepared, fitted.predictor, "auto").to_dict()


def test_without_validation_rows_forecasts_are_raw_which_fit_says(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = fit(split={"validation": 0, "test": 0.2})
    assert "forecasts are raw: the validation span has" in capsys.readouterr().err
    assert fitted.calibration is None
    future = future_of(shop_table())
    assert fitted.predict(future).equals(fitted.predict(future, raw=True))


def test_too_few_validation_rows_make_intervals_wider_which_fit_and_calibrate_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, table = tmp_path / "run", tmp_path / "table.parquet"
    shop_table().write_parquet(table)
    fitted = fit(run, table, split={"validation": 1, "test": 0})  # one horizon of three series
    said = "calibrated by adaptive: intervals 25% wider, as validation rows are too few to learn from"
    assert said in capsys.readouterr().err
    future = future_of(shop_table())
    raw, wider = (fitted.predict(future, raw=raw)[QUANTILES].to_numpy() for raw in (True, False))
    np.testing.assert_array_equal(wider[:, 1], raw[:, 1])
    stretched = (wider[:, 2] - wider[:, 0]) / (raw[:, 2] - raw[:, 0])
    assert ((stretched >= 1.25) & (stretched < 1.5)).all()
    with pytest.raises(DataError, match="3 known actuals"):
        fitted.calibrate("cqr")
    told = CliRunner().invoke(app, ["calibrate", str(run)])
    assert told.exit_code == 0, told.output
    assert said.replace("calibrated", "Calibrated") in " ".join(told.output.split())


def test_each_refit_of_a_backtest_is_calibrated_on_rows_before_its_origins(fitted: Forecaster, tmp_path: Path) -> None:
    """Other values of the rows forecast change no forecast, and those of the refits are not raw."""
    options = {"stride": 4, "refit_every": 2, "baselines": []}
    result = fitted.backtest(**options).table  # type: ignore[arg-type]
    assert result is not None
    first = result.tail(HORIZON)["ds"].min()  # the last steps that are forecast
    spoiled = shop_table().with_columns(y=pl.when(pl.col("ds") >= first).then(1e3).otherwise("y"))
    again = fitted.backtest(data=spoiled, **options).table  # type: ignore[arg-type]
    assert again is not None
    np.testing.assert_array_equal(result.select(QUANTILES).to_numpy(), again.select(QUANTILES).to_numpy())
    tails = [result.filter(predictor=name).tail(HORIZON)["q0.9"].to_numpy() for name in ("TFT", "TFT raw")]
    assert not np.allclose(*tails)


def test_the_command_line_calibrates_and_shows_both(folder: Path, fitted: Forecaster, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    table, run = folder.parent / "table.parquet", tmp_path / "run"
    future = tmp_path / "future.parquet"
    future_of(shop_table()).write_parquet(future)
    options = ["--horizon", "4", "--lookback", "12", "--known", "promotion", "--max-steps", "2", "--hidden-size", "4"]
    options += ["--members", "1", "--final", "none", "--blend", "none"]
    quiet = ["--set", "training.logger=none", "--set", "training.progress=false", "--set", "features.calendar=[]"]
    said("fit", str(table), "--out", str(run), *options, *quiet, "--calibration", "cqr")
    assert "TFT raw" in said("evaluate", str(run))
    assert "TFT raw" not in said("evaluate", str(run), "--raw")
    files = [tmp_path / name for name in ("calibrated.parquet", "raw.parquet")]
    for file, words in zip(files, ([], ["--raw"]), strict=True):
        assert "the quantiles are raw" not in said(
            "predict", str(run), "--future", str(future), "--out", str(file), *words
        )
    assert not pl.read_parquet(files[0]).equals(pl.read_parquet(files[1]))
    said("fit", str(table), "--out", str(tmp_path / "none"), *options, *quiet, "--calibration", "none")
    for words in (["evaluate"], ["predict", "--future", str(future), "--out", str(files[0])]):
        assert "Note: the quantiles are raw" in said(words[0], str(tmp_path / "none"), *words[1:])


def test_a_method_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="calibration cannot be 'cqrr'"):
        Forecaster(HORIZON, calibration="cqrr")  # type: ignore[arg-type]


def test_a_damaged_calibration_of_the_next_steps_is_refused(folder: Path, fitted: Forecaster, tmp_path: Path) -> None:
    for change in ({"end": [1]}, {"shifts": "none"}, {"shifts": [[[1.0]]]}):
        copy = tmp_path / str(len(list(tmp_path.iterdir())))
        copy.mkdir()
        for file in folder.iterdir():
            if file.is_file():
                (copy / file.name).write_bytes(file.read_bytes())
        config = json.loads((copy / "config.json").read_text())
        config["extra"][CALIBRATION_AHEAD] |= change
        config["sha256"].pop("config.json")
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(ArtifactError, match=r"calibration|times of end"):
            Forecaster.load(copy)
