"""LastCheckpoint: the state of training on disk, written often enough that a kill loses little."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from fusecast.runtime.distributed import holds_in_any_process

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class LastCheckpoint(Checkpoint):
    """Write ``last.ckpt`` after every epoch, and within epochs every so many steps or minutes.

    The one before becomes ``previous.ckpt``, so that a file spoiled by a full disk or a bad copy costs one interval,
    not the run.

    Parameters
    ----------
    folder
        Where the two files are written.
    steps
        Optimizer steps from one file to the next; None does not count steps.
    minutes
        Minutes from one file to the next; None does not read the clock.
    """

    def __init__(self, folder: Path, *, steps: int | None = None, minutes: float | None = None) -> None:
        self.folder = folder
        self.steps = steps
        self.minutes = minutes
        self.saved_step = 0  # the optimizer step from which a resumed run would continue
        self._written_at = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.saved_step = trainer.global_step
        self._written_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write within an epoch; its last step is followed by validation, and by the file of the whole epoch."""
        if not trainer.is_last_batch and not trainer.should_stop and self._is_due(trainer):
            self.write(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write after all other callbacks and the learning rate have been updated."""
        self.write(trainer)

    def write(self, trainer: pl.Trainer) -> None:
        """Write ``last.ckpt``; every process calls this."""
        path = self.folder / LAST
        if trainer.is_global_zero and path.exists():
            path.replace(self.folder / PREVIOUS)
        trainer.save_checkpoint(path)
        self.saved_step = trainer.global_step
        self._written_at = time.monotonic()

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if self.steps is not None and trainer.global_step % self.steps == 0:
            return True
        if self.minutes is None:
            return False
        return holds_in_any_process(trainer, time.monotonic() - self._written_at >= 60.0 * self.minutes)
