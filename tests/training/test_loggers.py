"""Curves and pictures reach every logger; what is not installed is said with the line that installs it."""

from __future__ import annotations

import builtins
import csv
import sqlite3
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fusecast.errors import ConfigError
from fusecast.training import loggers
from fusecast.training.callbacks import images as pictures
from fusecast.training.fit import FitResult

Train = Callable[..., FitResult]


def test_a_name_with_dollar_signs_is_no_formula_to_the_pictures() -> None:
    figure = pictures.draw_importance(np.array([0.4, 0.6]), ["$x_{$", "plain"])
    figure.canvas.draw()


def test_tensorboard_has_the_curves_and_pictures_of_forecast_and_importance(train: Train, tmp_path: Path) -> None:
    train(logger="tensorboard", max_epochs=3)
    found = EventAccumulator(str(tmp_path / "run" / "logs"))
    found.Reload()
    assert {"train_loss", "val_loss", "val_mae"} <= set(found.Tags()["scalars"])
    assert set(found.Tags()["images"]) == {"forecast", "importance"}
    assert [image.step for image in found.Images("forecast")] == [4, 8, 12]
    assert found.Images("forecast")[0].encoded_image_string.startswith(b"\x89PNG")


def test_pictures_do_not_change_what_is_trained(train: Train, tmp_path: Path) -> None:
    with_pictures = train(folder=tmp_path / "1", logger="tensorboard")
    without = train(folder=tmp_path / "2", logger="none")
    for name in ("train_loss", "val_loss"):
        assert [row[name] for row in with_pictures.history] == [row[name] for row in without.history]


def test_without_matplotlib_training_goes_on_and_a_note_says_what_is_missing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    train(logger="tensorboard", max_epochs=1)
    found = EventAccumulator(str(tmp_path / "run" / "logs"))
    found.Reload()
    assert found.Tags()["images"] == []
    assert "matplotlib is not installed (pip install 'fusecast[plot]')" in capsys.readouterr().err


def test_the_csv_logger_writes_its_file(train: Train, tmp_path: Path) -> None:
    train(logger="csv", max_epochs=1)
    assert "val_loss" in (tmp_path / "run" / "logs" / "metrics.csv").read_text(encoding="utf-8")


def test_the_loss_of_every_tenth_step_and_of_the_last_is_logged(train: Train, tmp_path: Path) -> None:
    train(logger="csv", max_epochs=10, max_steps=23)
    with (tmp_path / "run" / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        losses = {int(row["step"]): row["train_loss_step"] for row in csv.DictReader(file) if row["train_loss_step"]}
    assert list(losses) == [9, 19, 22]
    assert len(set(losses.values())) == 3


@pytest.mark.skipif(find_spec("mlflow") is None, reason="the extra `mlflow` is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # of MLflow
def test_mlflow_keeps_curves_and_pictures_in_the_runs_folder(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train(logger="mlflow", max_epochs=1)
    logs = tmp_path / "run" / "logs"
    database = sqlite3.connect(logs / "mlflow.db")
    kept = {row[0] for row in database.execute("select key from metrics")}
    database.close()
    assert {"train_loss", "val_loss", "val_mae"} <= kept
    assert {path.parent.name for path in (logs / "mlruns").rglob("*.png")} == {"forecast", "importance"}


@pytest.mark.skipif(find_spec("wandb") is None, reason="the extra `wandb` is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # of W&B
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_wandb_keeps_curves_and_pictures_offline(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(logger="wandb", max_epochs=1)
    import wandb

    wandb.finish()
    store = tmp_path / "run" / "logs" / "wandb"
    assert any(path.suffix == ".wandb" for path in store.rglob("*"))
    assert {path.name.split("_")[0] for path in store.rglob("*.png")} == {"forecast", "importance"}


@pytest.mark.parametrize(("name", "extra"), [("mlflow", "mlflow"), ("wandb", "wandb")])
def test_a_logger_that_is_not_installed_is_an_error_with_the_line_that_installs_it(
    name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda module: None)
    with pytest.raises(ConfigError, match=rf"is not installed\nHint: pip install 'fusecast\[{extra}\]'"):
        loggers.make_logger(name, tmp_path)


def test_importing_the_loggers_loads_neither_mlflow_nor_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    real = builtins.__import__

    def watch(name: str, *rest: Any) -> Any:
        asked.append(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", watch)
    assert loggers.make_logger("none", tmp_path) is None
    assert not {"mlflow", "wandb"} & set(asked)
