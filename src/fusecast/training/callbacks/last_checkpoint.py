"""LastCheckpoint: where training stands, on disk, often enough that a kill loses little."""

# ruff: noqa: ARG002  the signatures are Lightning's

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
LOOK_EVERY = 10
"""Steps between looks at the clock where several processes must agree on the time."""


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after every epoch, and within epochs every so many steps or minutes.

    The one before becomes ``previous.ckpt``, so that a file spoiled by a full disk or a bad copy costs one interval,
    not the run.

    Parameters
    ----------
    folder
        Where the two files go.
    steps
        Optimizer steps from one file to the next; None does not count steps.
    minutes
        Minutes from one file to the next; None does not look at the clock.
    """

    def __init__(self, folder: Path, *, steps: int | None = None, minutes: float | None = None) -> None:
        self.folder = folder
        self.steps = steps
        self.minutes = minutes
        self._written = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._written = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write within an epoch; its last step is followed by validation, and by the file of the whole epoch."""
        if not trainer.is_last_batch and not trainer.should_stop and self._is_due(trainer):
            self._write(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write after everything else has been updated."""
        self._write(trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        step = trainer.global_step
        if self.steps is not None and step % self.steps == 0:
            return True
        if self.minutes is None or (trainer.world_size > 1 and step % LOOK_EVERY):
            return False
        over = time.monotonic() - self._written >= 60.0 * self.minutes
        return trainer.strategy.reduce_boolean_decision(over, all=False)

    def _write(self, trainer: pl.Trainer) -> None:
        path = self.folder / LAST
        if trainer.is_global_zero and path.exists():
            path.replace(self.folder / PREVIOUS)
        trainer.save_checkpoint(path)
        self._written = time.monotonic()
