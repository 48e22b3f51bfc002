"""train_tft_lightning and predict_with_model, in this process."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace
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
from fusecast.errors import ArtifactError, ConfigError, DataError, FusecastError, TrainingError


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
    np.testing.assert_allclose(np.square(history["val_rmse"]), history["val_loss"], rtol=1e-6)
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


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_another_run_in_the_same_folder_sets_the_earlier_one_aside_as_a_whole(
    tiny: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(num_epochs=1, logger="tensorboard")
    folder = Path(config.checkpoint_dir)
    train_tft_lightning(config)
    first, content = files_of(folder), (folder / "metrics.csv").read_text()
    assert "earlier" not in capsys.readouterr().out
    config.learning_rate = 0.02
    train_tft_lightning(config)
    aside = folder / "earlier-1"
    printed = capsys.readouterr().out
    assert f"moved to {aside}" in printed
    assert printed.index("moved to") < printed.index("epoch   0")
    assert f"checkpoint_dir={aside} ckpt_path=last" in printed
    assert files_of(aside) == first
    assert (aside / "metrics.csv").read_text() == content
    assert json.loads((aside / "training_config.json").read_text())["learning_rate"] == 0.01
    assert not [name for name in files_of(folder) if re.search(r"-v\d", name)]
    assert len(list((folder / "tft_logs").iterdir())) == len(list((aside / "tft_logs").iterdir()))

    train_tft_lightning(config)
    assert {"earlier-1", "earlier-2", "last.ckpt"} <= files_of(folder)
    _, trainer = train_tft_lightning(tiny(num_epochs=2, checkpoint_dir=aside, ckpt_path="last", logger="tensorboard"))
    assert trainer.current_epoch == 2, "the earlier run goes on where it is, with its own files"
    assert {"last.ckpt", "metrics.csv"} <= files_of(aside)
    assert not [name for name in files_of(aside) if name.startswith("earlier")]


def test_a_resumed_run_goes_on_in_its_own_folder_and_its_own_logs(tiny: Any) -> None:
    config = tiny(num_epochs=3, logger="tensorboard", early_stopping_patience=None)
    folder = Path(config.checkpoint_dir)
    train_tft_lightning(config)
    events = files_of(folder / "tft_logs")
    (best,) = (path.name for path in folder.glob("tft-epoch=*.ckpt"))
    assert best.startswith("tft-epoch=02"), "the test needs a last epoch that is the best"
    config.ckpt_path = folder / "previous.ckpt"  # from before that epoch, which is repeated
    _, trainer = train_tft_lightning(config)
    assert trainer.current_epoch == 3
    assert {path.name for path in folder.glob("tft-epoch=*.ckpt")} == {best}
    assert not [name for name in files_of(folder) if name.startswith("earlier")]
    assert files_of(folder / "tft_logs") > events, "in the same run of TensorBoard, which is a folder"
    assert all(path.is_file() for path in (folder / "tft_logs").iterdir())


@pytest.mark.parametrize("remains", ["nothing", "an empty folder", "logs of a run without checkpoints"])
def test_resuming_where_nothing_is_yet_starts_anew_with_a_line(
    remains: str, tiny: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(num_epochs=1, ckpt_path="last")
    folder = Path(config.checkpoint_dir)
    if remains != "nothing":
        folder.mkdir()
    if remains.startswith("logs"):
        (folder / "tft_logs").mkdir()
    _, trainer = train_tft_lightning(config)
    assert f"{folder} holds no checkpoint yet: training starts from the beginning" in capsys.readouterr().err
    assert trainer.current_epoch == 1
    assert (folder / "earlier-1" / "tft_logs").exists() == remains.startswith("logs")


def test_nothing_is_moved_for_a_run_that_cannot_start(tiny: Any) -> None:
    config = tiny(num_epochs=1)
    train_tft_lightning(config)
    before = files_of(Path(config.checkpoint_dir))
    for wrong in ({"window_size": 5000}, {"hidden_size": 7}, {"data_path": "absent.csv"}, {"accelerator": "mps"}):
        with pytest.raises(FusecastError):
            train_tft_lightning(tiny(**wrong))
    assert files_of(Path(config.checkpoint_dir)) == before


def test_attributes_that_are_no_settings_are_named(tiny: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = SimpleNamespace(**tiny(num_epochs=1).to_dict(), epochs=3, weight_decay=0.1, num_epoch=7)
    train_tft_lightning(config)
    printed = " ".join(capsys.readouterr().err.split())
    assert "no settings, and change nothing: epochs, num_epoch (did you mean num_epochs?), weight_decay" in printed


def test_paths_may_be_path_objects(tiny: Any, tmp_path: Path) -> None:
    config = tiny(num_epochs=1, data_path=tmp_path / "table.parquet", checkpoint_dir=tmp_path / "here")
    train_tft_lightning(config)
    written = json.loads((tmp_path / "here" / "training_config.json").read_text())
    assert (written["data_path"], written["checkpoint_dir"]) == (str(config.data_path), str(config.checkpoint_dir))


def test_a_file_where_the_folder_should_be_is_an_error_in_words(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ArtifactError, match="taken"):
        train_tft_lightning(tiny(checkpoint_dir=tmp_path / "taken"))
