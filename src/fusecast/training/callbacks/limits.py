"""Limits: stop after so many steps or minutes, with the shortened epoch validated like any other."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from fusecast.runtime.distributed import holds_in_any_process


class Limits(pl.Callback):
    """Stop training after `max_steps` optimizer steps or `max_minutes`, whichever comes first.

    Lightning's own limits leave the last, shorter epoch without validation and checkpoint; these do not.
    """

    def __init__(self, max_steps: int | None = None, max_minutes: float | None = None) -> None:
        self.max_steps = max_steps
        self.max_minutes = max_minutes
        self.reached: str | None = None  # which limit, in words
        self._seconds_before = 0.0
        self._began = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; stop where a resumed run has done its steps already."""
        self._began = time.monotonic()
        if self._steps_are_done(trainer):
            self._stop_where_due(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop where a limit is reached."""
        self._stop_where_due(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, which a resumed run counts on from."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the seconds of the run before."""
        self._seconds_before = state_dict["seconds"]

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _stop_where_due(self, trainer: pl.Trainer) -> None:
        if self._steps_are_done(trainer):
            self.reached = f"{self.max_steps} steps are done"
        elif self.max_minutes is not None and holds_in_any_process(trainer, self._seconds() >= 60.0 * self.max_minutes):
            self.reached = f"{self.max_minutes:g} minutes are over"
        trainer.should_stop = trainer.should_stop or self.reached is not None

    def _steps_are_done(self, trainer: pl.Trainer) -> bool:
        return self.max_steps is not None and trainer.global_step >= self.max_steps
