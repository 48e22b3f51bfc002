"""Every verb of a forecaster with several networks: what it returns is that of all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import Forecaster
from fusecast.cli.app import app
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.quantiles import mix_quantiles
from fusecast.training.members import fit as members_fit

QUANTILES = ["q0.1", "q0.5", "q0.9"]


@pytest.fixture(scope="module")
def in_turn() -> Iterator[None]:
    """Train members one after another: processes take seconds to start, and train the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(members_fit, "available_cores", lambda: 1)
        yield


def fit(folder: Path | None = None, **training: Any) -> Forecaster:
    options = TINY | {"training": TINY["training"] | training}
    return Forecaster(HORIZON, LOOKBACK, **ROLES, **options).fit(shop_table(), folder=folder)


@pytest.fixture(scope="module")
def folder(in_turn: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("members") / "run"


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Forecaster:
    return fit(folder, members=2)


def test_forecasts_are_a_mixture_and_a_loaded_model_returns_the_same(fitted: Forecaster, folder: Path) -> None:
    future = future_of(shop_table())
    forecasts = fitted.predict(future)
    alone = [fit(seed=seed).predict(future).select(QUANTILES).to_numpy() for seed in (42, 43)]
    expected = mix_quantiles(alone, fitted.config.network.quantiles)
    np.testing.assert_allclose(forecasts.select(QUANTILES).to_numpy(), expected, rtol=1e-9)
    loaded = Forecaster.load(folder)
    assert loaded.predict(future, data=shop_table()).equals(forecasts)
    assert loaded.config.training.members == 2
    assert {path.name for path in folder.glob("*.safetensors")} == {"model.safetensors", "model-2.safetensors"}


def test_an_explanation_is_the_average_of_those_of_the_members(fitted: Forecaster) -> None:
    prepared, predictor = fitted.prepared, fitted.predictor
    explanation = fitted.explain(permutation=20)
    index = prepared.windows("test")
    attention = [
        np.concatenate([
            output.attention.numpy().mean(axis=1)
            for *_, output in NetworkPredictor(member.network, prepared.preprocessor, device="cpu").outputs(
                prepared.encoded, index
            )
        ]).mean(axis=0)
        for member in predictor.members
    ]  # fmt: skip
    np.testing.assert_allclose(explanation.attention.mean, (attention[0] + attention[1]) / 2, rtol=1e-4, atol=1e-6)
    assert explanation.permutation is not None
    assert np.isfinite(explanation.permutation["increase"].to_numpy()).all()
    assert fitted.explain_forecast("shop 0", future_of(shop_table())).forecast.height == HORIZON


def test_the_other_verbs_work_on_all_members(fitted: Forecaster, folder: Path, tmp_path: Path) -> None:
    future = future_of(shop_table())
    assert fitted.sample(5, future).height == 3 * 5 * HORIZON
    changed = fitted.what_if({"promotion": 0.0}, future)
    before = fitted.predict(future)["q0.5"].to_numpy()
    np.testing.assert_allclose(changed.filter(pl.col("quantile") == 0.5)["before"].to_numpy(), before)
    fitted.calibrate("split")
    assert (folder / "model-2.safetensors").exists()
    page = fitted.report(tmp_path / "report.html").read_text()
    assert "2, mixed" in page
    ran = CliRunner().invoke(app, ["predict", str(folder), "--help"])
    assert ran.exit_code == 0


@pytest.mark.parametrize("warm", [True, False])
def test_a_backtest_refits_every_member(fitted: Forecaster, tmp_path: Path, warm: bool) -> None:
    options = {"stride": 6, "refit_every": 2, "baselines": [], "warm_start": warm}
    fitted.backtest(**options, out=tmp_path / "whole.parquet")
    table = pl.read_parquet(tmp_path / "whole.parquet")
    again = fitted.backtest(**options).table
    assert again is not None
    assert table.equals(again)
    frozen = fitted.backtest(stride=6, baselines=[]).table
    assert frozen is not None
    assert not np.allclose(frozen["y_hat"].tail(6), table["y_hat"].tail(6))


def test_the_command_line_trains_and_predicts_with_members(in_turn: None, tmp_path: Path) -> None:
    table = shop_table().select("unique_id", "ds", "y")
    table.write_csv(tmp_path / "table.csv")
    sizes = ["--horizon", "4", "--lookback", "12", "--hidden-size", "8", "--num-heads", "2", "--max-steps", "3"]
    sizes += ["--final", "none", "--calibration", "none", "--blend", "none"]
    out = str(tmp_path / "run")
    fit_command = ["fit", str(tmp_path / "table.csv"), "--out", out, "--members", "2", *sizes]
    ran = CliRunner().invoke(app, fit_command)
    assert ran.exit_code == 0, ran.output
    assert "Trained 2 networks of" in ran.output
    ran = CliRunner().invoke(app, ["predict", out, "--out", str(tmp_path / "forecasts.csv")])
    assert ran.exit_code == 0, ran.output
    assert pl.read_csv(tmp_path / "forecasts.csv").height == 3 * 4
