"""The trainer of a run: order of callbacks, the user's own loggers, files that are never overwritten, repr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tests.helpers.training_fixtures import AfterSteps, Train

from fusecast.errors import TrainingError
from fusecast.training.checkpoints import load_checkpoint


class Counter(pl.Callback):
    """Count the steps, in the state of the callback."""

    def __init__(self) -> None:
        self.steps = 0
        self.order: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.order = [type(callback).__name__ for callback in trainer.callbacks]  # type: ignore[attr-defined]

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}


def test_callbacks_are_called_in_the_documented_order_and_checkpoints_hold_their_state_after_the_same_step(
    train: Train, tmp_path: Path
) -> None:
    counter = Counter()
    every_step = ModelCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
    result = train(
        max_epochs=1,
        progress=True,
        logger="csv",
        checkpoint_steps=3,
        callbacks=[every_step, counter, AfterSteps(9, int)],
    )
    assert counter.order == [
        *("RunFolder", "WeightAverage", "History", "Limits", "ProgressReport", "LearningRateMonitor"),
        *(
            "EarlyStopping",
            "LearningRates",
            "Counter",
            "AfterSteps",
            "MovableCheckpoint",
            "ModelCheckpoint",
            "LastCheckpoint",
        ),
        "Interruption",
    ]
    previous = load_checkpoint(result.checkpoint.parent / "previous.ckpt")
    assert previous["callbacks"]["Counter"] == {"steps": 3}
    assert previous["global_step"] == 3


def test_loggers_of_the_user_take_the_place_of_that_of_the_configuration(train: Train, tmp_path: Path) -> None:
    mine = [CSVLogger(tmp_path / "mine", name=""), TensorBoardLogger(tmp_path / "board", name="")]
    train(max_epochs=1, logger=mine)
    assert not (tmp_path / "run" / "logs").exists()
    assert "val_loss" in next((tmp_path / "mine").rglob("metrics.csv")).read_text(encoding="utf-8")
    assert list((tmp_path / "board").rglob("events.*"))


def test_one_logger_of_the_user_needs_no_list(train: Train, tmp_path: Path) -> None:
    train(max_epochs=1, logger=CSVLogger(tmp_path / "mine", name=""))
    assert not (tmp_path / "run" / "logs").exists()
    assert list((tmp_path / "mine").rglob("metrics.csv"))


def test_checkpoints_of_another_run_are_not_overwritten(train: Train) -> None:
    first = train(max_epochs=1)
    before = first.checkpoint.read_bytes()
    with pytest.raises(TrainingError, match=r"already holds checkpoints: 'last\.ckpt'"):
        train(max_epochs=1)
    assert first.checkpoint.read_bytes() == before


def test_a_result_is_shown_in_one_line(train: Train) -> None:
    assert repr(train(max_epochs=1)).startswith("FitResult(best_loss=")
