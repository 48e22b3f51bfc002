"""The training of a small ensemble, and a script that trains it and waits to be killed.

python -m tests.helpers.killed_members FOLDER MEMBERS
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from tests.helpers.killed_training import SIZES, STEPS_AN_EPOCH, TRAIN, VALID, wave

from fusecast.config import TrainingConfig
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.config import ModelConfig
from fusecast.training.final import StepPlan
from fusecast.training.fit import FitResult
from fusecast.training.members import fit as members_fit
from fusecast.training.members.ensemble import LoadInitialWeights


def fit_ensemble(
    folder: Path,
    *,
    members: int,
    resume: bool = False,
    callbacks: Sequence[pl.Callback] = (),
    initial: Sequence[LoadInitialWeights] = (),
    plans: Sequence[StepPlan] = (),
    encoded: EncodedPanel | None = None,
    **options: Any,
) -> FitResult:
    """Train networks with all that has a state in it: dropout, a falling learning rate, early stopping."""
    settings: dict[str, Any] = {
        "batch_size": 16,
        "max_epochs": 3,
        "windows_per_epoch": 16 * STEPS_AN_EPOCH,
        "learning_rate": 0.1,
        "lr_scheduler_patience": 0,
        "early_stopping_patience": 1,
        "checkpoint_steps": 2,
        "accelerator": "cpu",
        "logger": "none",
        "progress": False,
    }
    encoded = encoded or wave()
    return members_fit.fit_members(
        model_config=ModelConfig(**SIZES, **encoded.inputs.sizes(), hidden_size=8, num_heads=2, dropout=0.2),
        training_config=TrainingConfig(**{**settings, **options}, members=members),
        encoded=encoded,
        train=TRAIN,
        valid=VALID,
        folder=folder,
        resume=resume,
        callbacks=callbacks,
        initial=initial,
        plans=plans,
    )


class WaitToBeKilled(pl.Callback):
    """Hold the first member up in its third step, until the process is killed."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        while trainer.global_step == 3:
            time.sleep(0.1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    members_fit.available_cores = lambda: 2
    fit_ensemble(Path(sys.argv[1]), members=int(sys.argv[2]), callbacks=[WaitToBeKilled()])
