"""History: the results of every epoch, as rows and as a CSV file."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from fusecast.io.atomic import replace_file

COLUMNS = ("epoch", "step", "train_loss", "val_loss", "val_mae", "lr", "seconds", "windows_per_second")


class History(pl.Callback):
    """One row an epoch, in memory and (rewritten whole after every epoch) in a CSV file.

    Columns: number of the epoch from 0, optimizer steps so far, mean training loss, validation loss and absolute
    error of the median in scaled units (empty without validation), the learning rate during the epoch, seconds of
    training so far, and windows a second without the time of validation. A resumed run continues the rows.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._seconds_before = 0.0
        self._run_began = self._epoch_began = self._validation_began = time.monotonic()
        self._validation_seconds = 0.0
        self._windows = 0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those of the runs before a resumption included."""
        return self._seconds_before + time.monotonic() - self._run_began

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self._run_began = self._epoch_began = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._epoch_began, self._validation_seconds, self._windows = time.monotonic(), 0.0, 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the windows of all processes."""
        self._windows += len(batch[0]) * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the validation."""
        self._validation_began = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the time of the validation."""
        self._validation_seconds += time.monotonic() - self._validation_began

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Add the row of the epoch."""
        training_seconds = time.monotonic() - self._epoch_began - self._validation_seconds
        metrics = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "train_loss": float(pl_module.epoch_loss()),
            "val_loss": _to_float(metrics.get("val_loss")),
            "val_mae": _to_float(metrics.get("val_mae")),
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": round(self.seconds, 3),
            "windows_per_second": round(self._windows / max(training_seconds, 1e-9), 1),
        }
        self.rows = [*(old for old in self.rows if old["epoch"] < row["epoch"]), row]
        if self.path is not None and trainer.is_global_zero:
            write_history(self.path, COLUMNS, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the epochs of the checkpoint."""
        self.rows, self._seconds_before = list(state_dict["rows"]), state_dict["seconds"]


def write_history(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows to a CSV file, atomically; None becomes an empty field."""
    with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _to_float(value: Tensor | None) -> float | None:
    return None if value is None else float(value)
