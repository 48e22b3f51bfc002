"""MetricsCallback: what every epoch came to, in memory, on the screen and in a file."""

# ruff: noqa: ARG002  the signatures are Lightning's

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from fusecast.io.atomic import replace_file

COLUMNS = ("epoch", "train_loss", "val_loss", "val_mae", "val_rmse", "lr")


class MetricsCallback(pl.Callback):
    """Keeps ``history``, a list of values for each of the columns; prints a line and writes ``metrics.csv`` an epoch.

    Columns: number of the epoch from 0, training loss, validation loss (the mean squared error of standardised
    values), mean absolute error and root mean squared error (likewise), and the learning rate during the epoch. Without
    validation its columns are None. A resumed run goes on with the history of the run it resumes.

    Parameters
    ----------
    path
        The CSV file; None is ``metrics.csv`` beside the checkpoints, or in the trainer's ``default_root_dir``.
    verbose
        Print the line.
    """

    def __init__(self, path: str | Path | None = None, *, verbose: bool = True) -> None:
        self.path = None if path is None else Path(path)
        self.verbose = verbose
        self.history: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._judged: dict[str, float] = {}
        self._lr = math.nan
        self._trains = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note whether what follows is training; Lightning calls this before it reads a checkpoint."""
        self._trains = stage == "fit"

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rate of the epoch."""
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note what validation came to."""
        if not trainer.sanity_checking:
            metrics = trainer.callback_metrics
            self._judged = {name: float(metrics[name]) for name in ("val_loss", "val_mae") if name in metrics}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch, print its line, write the file."""
        loss = self._judged.get("val_loss")
        row = {
            "epoch": trainer.current_epoch,
            "train_loss": self._train_loss(trainer, pl_module),
            "val_loss": loss,
            "val_mae": self._judged.get("val_mae"),
            "val_rmse": None if loss is None else math.sqrt(loss),
            "lr": self._lr,
        }
        self._judged = {}
        before = [number for number, epoch in enumerate(self.history["epoch"]) if epoch < row["epoch"]]
        for name, value in row.items():
            self.history[name] = [self.history[name][number] for number in before] + [value]
        if not trainer.is_global_zero:
            return
        if row["val_rmse"] is not None:
            for logger in trainer.loggers:
                logger.log_metrics({"val_rmse": row["val_rmse"]}, step=trainer.global_step)
        if self.verbose:
            print(self._line(row), flush=True)
        self._write(self._path(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"history": self.history, "judged": self._judged, "lr": self._lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history of the checkpoint, to train on; one that is only tested leaves the history be."""
        if not self._trains:
            return
        self.history = {name: list(values) for name, values in state_dict["history"].items()}
        self._judged, self._lr = dict(state_dict["judged"]), state_dict["lr"]

    @staticmethod
    def _train_loss(trainer: pl.Trainer, pl_module: Any) -> float | None:
        if hasattr(pl_module, "epoch_loss"):
            return float(pl_module.epoch_loss())
        found: Tensor | None = trainer.callback_metrics.get("train_loss")
        return None if found is None else float(found)

    @staticmethod
    def _line(row: dict[str, Any]) -> str:
        parts = [f"epoch {row['epoch']:3d}"]
        parts += [
            f"{name} {row[name]:.6f}"
            for name in ("train_loss", "val_loss", "val_mae", "val_rmse")
            if row[name] is not None
        ]
        return "  ".join([*parts, f"lr {row['lr']:.1e}"])

    def _path(self, trainer: pl.Trainer) -> Path:
        if self.path is not None:
            return self.path
        folder = getattr(trainer.checkpoint_callback, "dirpath", None) or trainer.default_root_dir
        return Path(folder) / "metrics.csv"

    def _write(self, path: Path) -> None:
        with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(zip(*(self.history[name] for name in COLUMNS), strict=True))
