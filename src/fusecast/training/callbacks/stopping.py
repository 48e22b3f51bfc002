"""What ends training before its last epoch: Limits (steps, minutes) and Interruption (Ctrl+C)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from fusecast.runtime.distributed import holds_in_any_process
from fusecast.training.checkpoints import LastCheckpoint, is_accumulating


class Limits(pl.Callback):
    """Stop training after `max_steps` optimizer steps or `max_minutes`, whichever comes first.

    Lightning's limits leave the last, shorter epoch without validation and checkpoint; these do not.
    """

    def __init__(self, max_steps: int | None = None, max_minutes: float | None = None) -> None:
        self.max_steps = max_steps
        self.max_minutes = max_minutes
        self.reached: str | None = None  # which limit, in words
        self._seconds_before = 0.0
        self._began = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start the clock; stop where a resumed run has done its steps already."""
        self._began = time.monotonic()
        if self._steps_are_done(trainer):
            self.on_train_batch_end(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop where a limit is reached."""
        if self._steps_are_done(trainer):
            self.reached = f"{self.max_steps} steps are done"
        elif self.max_minutes is not None and holds_in_any_process(trainer, self._seconds() >= 60.0 * self.max_minutes):
            self.reached = f"{self.max_minutes:g} minutes are over"
        trainer.should_stop = trainer.should_stop or self.reached is not None

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, which a resumed run counts on from."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the seconds of the run before."""
        self._seconds_before = state_dict["seconds"]

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _steps_are_done(self, trainer: pl.Trainer) -> bool:
        return self.max_steps is not None and trainer.global_step >= self.max_steps


class Interrupted(BaseException):
    """A Ctrl+C that ends training; on a KeyboardInterrupt Lightning kills the other processes, and then this one."""


class Interruption(Checkpoint):
    """End training on Ctrl+C between two steps, when ``last.ckpt`` holds the state of the first.

    A KeyboardInterrupt could fall into the writing of a checkpoint, whose name is noted before the file is there, or
    into code whose exceptions Python ignores, and training would continue. A second Ctrl+C raises it all the same.
    Several processes agree on the step, and are not interrupted within validation. Where nothing but the last
    validation is left, it is finished.

    After a SIGTERM, on which Lightning ends training between two batches, a single process writes its state, too.

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

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Interrupt before the step, where the state before it is on disk, or is that of the beginning."""
        if trainer.world_size == 1 and self._requested and self._last.saved_step == trainer.global_step:
            self._interrupt()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the state after the step, and interrupt."""
        if trainer.should_stop or is_accumulating(trainer):
            return
        if holds_in_any_process(trainer, self._requested):
            if self._last.saved_step != trainer.global_step:
                self._last.write(trainer)
            self._interrupt()
        self._write_where_terminated(trainer)

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the state before the validation, which a resumed run begins anew, and interrupt."""
        if trainer.world_size == 1 and self._requested and not trainer.should_stop:
            self._last.write(trainer)
            self._interrupt()

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the state before the validation, which a resumed run begins anew, where Lightning ends it now."""
        self._write_where_terminated(trainer)

    def _write_where_terminated(self, trainer: pl.Trainer) -> None:
        terminated = trainer.received_sigterm and trainer.world_size == 1 and not trainer.should_stop
        if terminated and self._last.saved_step != trainer.global_step:
            self._last.write(trainer)

    def _request(self, *_: int | FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True

    def _interrupt(self) -> None:
        self._requested = False
        raise Interrupted
