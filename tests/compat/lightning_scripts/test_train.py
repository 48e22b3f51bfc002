"""train_tft_lightning and predict_with_model, in this process."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import pytorch_lightning
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from tests.helpers.killed_script_training import MetricsCallback
from tests.helpers.tables import two_waves

from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.metrics_callback import COLUMNS
from fusecast.compat.lightning_scripts.predict import predict_with_model
from fusecast.compat.lightning_scripts.train import train_tft_lightning
from fusecast.errors import ConfigError, DataError, TrainingError


def test_training_prints_its_progress_and_writes_its_files(tiny: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(logger="tensorboard")
    model, trainer = train_tft_lightning(config)
    printed = capsys.readouterr().out
    folder = Path(config.checkpoint_dir)
    names = {path.name for path in folder.iterdir()}
    assert {"last.ckpt", "tft_logs", "training_config.json", "metrics.csv"} <= names
    (best,) = folder.glob("tft-epoch=*.ckpt")
    assert re.fullmatch(r"tft-epoch=\d\d-val_loss=\d\.\d{6}\.ckpt", best.name)
    assert json.loads((folder / "training_config.json").read_text(encoding="utf-8")) == config.to_dict()
    assert any(path.name.startswith("events") for path in (folder / "tft_logs").iterdir())
    for words in (
        "108 to train", "23 to validate", "23 to test", "parameters", "epoch   1", "best checkpoint", best.name,
        "test loss", f"tensorboard --logdir {folder / 'tft_logs'}",
    ):  # fmt: skip
        assert words in printed
    assert trainer.checkpoint_callback.best_model_path == str(best)
    kept = torch.load(best, weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())


def test_the_history_of_the_metrics_is_kept_and_written(tiny: Any) -> None:
    config = tiny(num_epochs=3)
    _, trainer = train_tft_lightning(config)
    history = next(callback for callback in trainer.callbacks if isinstance(callback, MetricsCallback)).history
    assert history["epoch"] == [0, 1, 2]
    np.testing.assert_allclose(np.square(history["val_rmse"]), history["val_loss"])
    assert all(0 < mae <= rmse for mae, rmse in zip(history["val_mae"], history["val_rmse"], strict=True))
    assert history["lr"] == [0.01] * 3
    with (Path(config.checkpoint_dir) / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["val_loss"]) for row in rows] == history["val_loss"]


@pytest.mark.parametrize(("stage", "epochs"), [("fit", [0, 1]), ("test", [0, 1, 2, 3])])
def test_only_resumed_training_takes_the_history_of_its_checkpoint(stage: str, epochs: list[int]) -> None:
    kept = MetricsCallback(verbose=False)
    kept.history["epoch"] = [0, 1]
    state, callback = kept.state_dict(), MetricsCallback(verbose=False)
    callback.history["epoch"] = [0, 1, 2, 3]
    trainer = pytorch_lightning.Trainer(logger=False, accelerator="cpu")
    callback.setup(trainer, pytorch_lightning.LightningModule(), stage)  # which comes first, as Lightning does it
    callback.load_state_dict(state)
    assert callback.history["epoch"] == epochs


def test_columns_that_are_not_numbers_are_left_out_and_named(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_waves().with_columns(town=pl.lit("Bonn")).write_parquet(tmp_path / "towns.parquet")
    model, _ = train_tft_lightning(tiny(num_epochs=1, data_path=str(tmp_path / "towns.parquet")))
    assert "left out, as they are not numbers: town" in capsys.readouterr().out
    assert model.input_size == 2


def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(
    tiny: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tft_lightning(tiny(num_epochs=2))
    last = Path(tiny().checkpoint_dir, "last.ckpt")
    last.write_bytes(last.read_bytes()[:3000])
    _, trainer = train_tft_lightning(tiny(num_epochs=3, ckpt_path=str(last)))
    captured = capsys.readouterr()
    assert "last.ckpt cannot be read" in captured.err
    assert re.search(r"going on from .*\.ckpt", captured.out)
    assert trainer.current_epoch == 3


@pytest.fixture
def trained(tiny: Any) -> Path:
    _, trainer = train_tft_lightning(tiny(num_epochs=1))
    return Path(trainer.checkpoint_callback.best_model_path)


def test_predictions_and_actuals_are_returned_and_scored_as_by_scikit_learn(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = make_dataloaders(two_waves(), 6, 16)[2]
    capsys.readouterr()
    predictions, actuals = predict_with_model(trained, test, device="cpu")
    assert isinstance(predictions, np.ndarray)
    assert predictions.shape == actuals.shape == (23, 2)
    np.testing.assert_array_equal(actuals, two_waves().tail(23).to_numpy().astype(np.float32))
    printed = dict(re.findall(r"(MSE|RMSE|MAE|R²) (-?[\d.]+)", capsys.readouterr().out))
    expected = {
        "MSE": mean_squared_error(actuals, predictions),
        "RMSE": mean_squared_error(actuals, predictions) ** 0.5,
        "MAE": mean_absolute_error(actuals, predictions),
        "R²": r2_score(actuals, predictions, multioutput="variance_weighted"),
    }
    assert {name: float(value) for name, value in printed.items()} == pytest.approx(expected, abs=2e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_absent_device_is_refused_with_those_of_the_machine(trained: Path) -> None:
    with pytest.raises(ConfigError, match=r"device 'cuda' is not available on this machine\nHint: available are .*cpu"):
        predict_with_model(trained, make_dataloaders(two_waves(), 6, 16)[2], device="cuda")


def test_a_loader_that_yields_nothing_is_refused(trained: Path) -> None:
    with pytest.raises(DataError, match="yields no batch"):
        predict_with_model(trained, [], device="cpu")


def test_resuming_with_another_network_is_refused(tiny: Any) -> None:
    config = tiny()
    train_tft_lightning(config)
    config.ckpt_path, config.hidden_size = "last", 2 * config.hidden_size
    with pytest.raises(TrainingError, match=r"cannot be resumed from .*last.ckpt: hidden_size was"):
        train_tft_lightning(config)
