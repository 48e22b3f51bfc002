"""Runs that kill themselves: a script for the tests of resumption.

python killed_training.py FOLDER WHEN ...

One process for each WHEN, which resumes where the one before was killed. WHEN is a step (``7``), ``validation`` (in its
middle) or ``never``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from fusecast.config import TrainingConfig
from fusecast.features.encoded_panel import EncodedPanel, Inputs
from fusecast.model.config import ModelConfig
from fusecast.training.fit import FitResult, fit
from fusecast.windows.window_index import WindowIndex

ROWS, TRAIN_END, LOOKBACK, HORIZON = 200, 149, 8, 2
STEPS_AN_EPOCH = 6


class Kill(pl.Callback):
    """SIGKILL, which no process can catch, after the forward pass of a step or within validation."""

    def __init__(self, when: str) -> None:
        self.when = when
        self.validations = 0

    def on_before_backward(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.when.isdigit() and trainer.global_step == int(self.when):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.validations += 1
        if self.when == "validation" and self.validations == 2:
            os.kill(os.getpid(), signal.SIGKILL)


SIZES: dict[str, Any] = {"lookback": LOOKBACK, "horizon": HORIZON}
TRAIN = WindowIndex.between(lengths=[ROWS], begin=0, end=TRAIN_END, **SIZES)
VALID = WindowIndex.between(lengths=[ROWS], begin=TRAIN_END, end=ROWS, **SIZES)


def wave() -> EncodedPanel:
    """Return one noisy series."""
    values = np.sin(np.arange(ROWS) / 3) + np.random.default_rng(0).normal(scale=0.2, size=ROWS)
    return EncodedPanel(
        inputs=Inputs(targets=("y",)),
        indptr=np.array([0, ROWS]),
        reals=values[:, None].astype(np.float32),
        reals_present=np.empty((ROWS, 0), dtype=bool),
        categories=np.empty((ROWS, 0), dtype=np.int32),
        static_reals=np.empty((1, 0), dtype=np.float32),
        static_reals_present=np.empty((1, 0), dtype=bool),
        static_categories=np.empty((1, 0), dtype=np.int32),
        center=np.zeros((1, 1)),
        scale=np.ones((1, 1)),
    )


def train(folder: Path, callbacks: Sequence[pl.Callback] = (), *, resume: bool = False, **options: Any) -> FitResult:
    """Train with all that has a state in it: dropout, a falling learning rate, early stopping."""
    torch.set_num_threads(1)
    dropout = options.pop("dropout", 0.2)
    settings: dict[str, Any] = {
        "batch_size": 16,
        "max_epochs": 10,  # enough that some epoch is no better than those before, whatever the roundings
        "windows_per_epoch": 16 * STEPS_AN_EPOCH,
        "learning_rate": 0.3,
        "lr_scheduler_patience": 0,
        "early_stopping_patience": 4,
        "checkpoint_steps": 2,
        "accelerator": "cpu",
        "logger": "none",
        "progress": False,
    }
    encoded = wave()
    return fit(
        model_config=ModelConfig(**SIZES, **encoded.inputs.sizes(), hidden_size=8, num_heads=2, dropout=dropout),
        training_config=TrainingConfig(**{**settings, **options}),
        encoded=encoded,
        train=TRAIN,
        valid=VALID,
        folder=folder,
        resume=folder / "checkpoints" if resume else None,
        callbacks=callbacks,
    )


def run(folder: Path, when: str, *, resume: bool) -> FitResult:
    """Train, and be killed where `when` says so."""
    return train(folder, [Kill(when)], resume=resume)


def run_and_be_killed(folder: Path, when: str) -> None:
    """Train in a process of its own; this one has loaded all libraries and never trains, so forking it is safe."""
    child = os.fork()
    if child == 0:
        run(folder, when, resume=folder.exists())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(f"the run that was to be killed at {when} ended with status {status}")


if __name__ == "__main__":
    for when in sys.argv[2:]:
        run_and_be_killed(Path(sys.argv[1]), when)
