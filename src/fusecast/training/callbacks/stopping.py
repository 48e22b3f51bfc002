"""What ends training before its last epoch: Limits (steps, minutes) and Interruption (Ctrl+C, SIGTERM)."""

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
        self._ended_before = False  # whether the run that is resumed had ended
        self._began = time.monotonic()

    def progress(self, step: int) -> float:
        """Return the share of the limits that training has used up before a step; 0 where there are none."""
        steps = step / self.max_steps if self.max_steps else 0.0
        minutes = self._seconds() / (60.0 * self.max_minutes) if self.max_minutes else 0.0
        return max(steps, minutes)

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start the clock; stop where a resumed run has done its steps already, or had ended when its time was over."""
        self._began = time.monotonic()
        if self._steps_are_done(trainer):
            self.on_train_batch_end(trainer)
        elif self._ended_before and self.max_minutes is not None and self._seconds_before >= 60.0 * self.max_minutes:
            self.reached = self._time_is_over
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop where a limit is reached."""
        if self._steps_are_done(trainer):
            self.reached = f"{self.max_steps} steps are done"
        elif self.max_minutes is not None and holds_in_any_process(trainer, self._seconds() >= 60.0 * self.max_minutes):
            self.reached = self._time_is_over
        trainer.should_stop = trainer.should_stop or self.reached is not None

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, which a resumed run counts on from, and whether a limit was reached."""
        return {"seconds": self._seconds(), "reached": self.reached is not None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the seconds of the run before."""
        self._seconds_before = state_dict["seconds"]
        self._ended_before = bool(state_dict.get("reached"))

    @property
    def _time_is_over(self) -> str:
        return f"{self.max_minutes:g} minutes are over"

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _steps_are_done(self, trainer: pl.Trainer) -> bool:
        return self.max_steps is not None and trainer.global_step >= self.max_steps


class Interrupted(BaseException):
    """A Ctrl+C or SIGTERM that ends a run.

    On a KeyboardInterrupt Lightning kills the other processes, and then this one.
    """


class Interruption(Checkpoint):
    """End training on Ctrl+C or SIGTERM between two steps, when ``last.ckpt`` holds the state of the first.

    An exception could fall into the writing of a checkpoint, whose name is noted before the file is there, or into code
    whose exceptions Python ignores, and training would continue. A second Ctrl+C raises it all the same. Several
    processes agree on the step, and are not interrupted within validation or a test. Where nothing but the last
    validation is left, Ctrl+C waits for its end.

    A `Checkpoint`, so that Lightning calls it after the callbacks whose state the checkpoint is to hold.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self._last = last
        self._is_active = self._requested = self._terminated = False
        self._before: Any = None  # the handler of SIGTERM

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Handle SIGTERM, and SIGINT where it would have raised a KeyboardInterrupt, within the block.

        What it interrupts raises Interrupted. Outside of such a block the callback does nothing.
        """
        self._requested = self._terminated = False
        self._is_active = True
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._before = before[signal.SIGTERM]
        is_main = threading.current_thread() is threading.main_thread()
        try:
            if is_main and before[signal.SIGINT] is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._request)
            yield
        finally:
            self._is_active = False
            for number, handler in before.items():  # Lightning leaves Ctrl+C switched off
                if is_main and handler is not None:
                    signal.signal(number, handler)

    def is_terminated(self, trainer: pl.Trainer) -> bool:
        """Whether this process has received SIGTERM, or another one has and all were interrupted by it."""
        return self._is_active and (self._terminated or trainer.received_sigterm)

    def on_train_start(self, *_: Any) -> None:
        """Replace Lightning's handler of SIGTERM, which talks to the other processes whatever they are doing."""
        if self._is_active and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._terminate)

    def on_test_start(self, *_: Any) -> None:
        """Replace Lightning's handler of SIGTERM."""
        self.on_train_start()

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Interrupt before the step, where the state before it is on disk, or is that of the beginning."""
        if trainer.world_size == 1 and self._is_requested(trainer) and self._last.saved_step == trainer.global_step:
            self._interrupt(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the state after the step, and interrupt."""
        if trainer.should_stop or is_accumulating(trainer):
            return
        if holds_in_any_process(trainer, self._is_requested(trainer)):
            if self._last.saved_step != trainer.global_step:
                self._last.write(trainer)
            self._interrupt(trainer)

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the state before the validation, which a resumed run begins anew, and interrupt."""
        if trainer.world_size == 1 and self._is_requested(trainer):
            if not trainer.should_stop:
                self._last.write(trainer)
            elif not self.is_terminated(trainer):
                return
            self._interrupt(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Interrupt a terminated run after an epoch, whose state has been written, or that was the last one."""
        self._interrupt_where_terminated(trainer)

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Interrupt the test in a single process."""
        if trainer.world_size == 1 and self._is_requested(trainer):
            self._interrupt(trainer)

    def on_test_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Interrupt several processes when they have tested."""
        self._interrupt_where_terminated(trainer)

    def _is_requested(self, trainer: pl.Trainer) -> bool:
        return self._is_active and (self._requested or self.is_terminated(trainer))

    def _interrupt_where_terminated(self, trainer: pl.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.is_terminated(trainer), all=False):
            self._interrupt(trainer)

    def _request(self, *_: int | FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True
        if callable(self._before):
            self._before(number, frame)

    def _interrupt(self, trainer: pl.Trainer) -> None:
        self._requested = False
        terminated = self.is_terminated(trainer)
        self._terminated = trainer.strategy.reduce_boolean_decision(terminated, all=False)
        raise Interrupted
