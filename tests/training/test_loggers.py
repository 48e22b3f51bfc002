"""Curves and images reach every logger; a logger that is not installed is an error with the line that installs it."""

from __future__ import annotations

import builtins
import csv
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.helpers.training_fixtures import Train
from tests.helpers.training_images import image_logger

from fusecast.errors import ConfigError
from fusecast.training import loggers


def test_tensorboard_has_the_curves(train: Train, tmp_path: Path) -> None:
    train(logger="tensorboard", max_epochs=1)
    events = EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    assert {"train_loss", "val_loss", "val_mae"} <= set(events.Tags()["scalars"])


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
def test_mlflow_keeps_curves_and_images_in_the_runs_folder(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train(logger="mlflow", max_epochs=1, callbacks=[image_logger()])
    logs = tmp_path / "run" / "logs"
    database = sqlite3.connect(logs / "mlflow.db")
    kept = {row[0] for row in database.execute("select key from metrics")}
    database.close()
    assert {"train_loss", "val_loss", "val_mae"} <= kept
    assert {path.parent.name for path in (logs / "mlruns").rglob("*.png")} == {"forecast", "importance"}


@pytest.mark.skipif(find_spec("wandb") is None, reason="the extra `wandb` is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # of W&B
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_wandb_keeps_curves_and_images_offline(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(logger="wandb", max_epochs=1, callbacks=[image_logger()])
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
    imported: list[str] = []
    real = builtins.__import__

    def watch(name: str, *rest: Any) -> Any:
        imported.append(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", watch)
    assert loggers.make_logger("none", tmp_path) is None
    assert not {"mlflow", "wandb"} & set(imported)
