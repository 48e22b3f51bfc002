"""Interruption: Ctrl+C ends training after a whole step, with a checkpoint of that step."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from fusecast.runtime.distributed import holds_in_any_process
from fusecast.training.callbacks.last_checkpoint import LastCheckpoint


class Interruption(Checkpoint):
    """Raise the KeyboardInterrupt of a Ctrl+C between two steps, when ``last.ckpt`` holds the state of the first.

    Raised at once, it could fall into the writing of a checkpoint, whose name is noted before the file is there, or
    into code whose exceptions Python ignores, and training would continue. A second Ctrl+C is raised at once all the
    same. Several processes agree on the step, and are not interrupted within validation. Where nothing but the last
    validation is left, it is finished.

    A `Checkpoint`, so that Lightning calls it after the callbacks whose state the checkpoint is to hold.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self._last = last
        self._requested = False

    @contextmanager
    def handle_signal(self) -> Iterator[None]:
        """Handle SIGINT within the block, where it would have raised a KeyboardInterrupt, and nowhere else."""
        before = signal.getsignal(signal.SIGINT)
        replaces = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
        self._requested = False
        try:
            if replaces:
                signal.signal(signal.SIGINT, self._request)
            yield
        finally:
            if replaces:  # Lightning leaves Ctrl+C switched off
                signal.signal(signal.SIGINT, before)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Interrupt before the step, where the state before it is on disk, or is that of the beginning."""
        if trainer.world_size == 1 and self._requested and self._last.saved_step == trainer.global_step:
            self._interrupt()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the state after the step, and interrupt."""
        if not trainer.should_stop and holds_in_any_process(trainer, self._requested):
            if self._last.saved_step != trainer.global_step:
                self._last.write(trainer)
            self._interrupt()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write the state before the validation, which a resumed run begins anew, and interrupt."""
        if trainer.world_size == 1 and self._requested and not trainer.should_stop:
            self._last.write(trainer)
            self._interrupt()

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True

    def _interrupt(self) -> None:
        self._requested = False
        raise KeyboardInterrupt
