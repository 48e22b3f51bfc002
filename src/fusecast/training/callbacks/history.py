"""History: the results of every epoch, as rows and as a CSV file."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from fusecast.io.atomic import replace_file

METRICS = ("val_loss", "val_mae")
COLUMNS = ("epoch", "step", "train_loss", *METRICS, "lr", "seconds", "windows_per_second")


class History(pl.Callback):
    """One row an epoch, in memory and (rewritten whole after every epoch) in a CSV file.

    Columns: the epoch from 0, optimizer steps so far, mean training loss, validation loss and absolute
    error of the median in scaled units (empty without validation), the learning rate during the epoch, seconds of
    training so far, and windows a second without the time of validation. A resumed run continues the rows.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._seconds_before = 0.0
        self._run_began = self._epoch_began = self._latest_step = time.monotonic()
        self._windows = 0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those of the runs before a resumption included."""
        return self._seconds_before + time.monotonic() - self._run_began

    def on_train_start(self, *_: Any) -> None:
        """Start the clocks."""
        self._run_began = self._epoch_began = time.monotonic()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start the epoch's clock."""
        self._epoch_began, self._windows = time.monotonic(), 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Count the windows of all processes, and read the clock: after the last step of an epoch it is validated."""
        self._windows += len(batch[0]) * trainer.world_size
        self._latest_step = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Add the row of the epoch."""
        metrics = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "train_loss": float(pl_module.epoch_loss()),
            **{name: float(metrics[name]) if name in metrics else None for name in METRICS},
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": round(self.seconds, 3),
            "windows_per_second": round(self._windows / max(self._latest_step - self._epoch_began, 1e-9), 1),
        }
        self.rows = [*(old for old in self.rows if old["epoch"] < row["epoch"]), row]
        if self.path is not None and trainer.is_global_zero:
            write_history(self.path, COLUMNS, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the epochs of the checkpoint."""
        rows = [dict(row) for row in state_dict["rows"]]
        if any(row.keys() != set(COLUMNS) or not isinstance(row["epoch"], int) for row in rows):
            raise ValueError("a row of the history is not one of these columns")
        self.rows, self._seconds_before = rows, state_dict["seconds"]


def write_history(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows to a CSV file, atomically; None becomes an empty field."""
    with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
