"""MetricsCallback: the results of every epoch, in memory, on the screen and in a file."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from fusecast.training.callbacks.history import write_history

COLUMNS = ("epoch", "train_loss", "val_loss", "val_mae", "val_rmse", "lr")


class MetricsCallback(pl.Callback):
    """Collect ``history``, a list of values for each column; print a line and write ``metrics.csv`` after every epoch.

    Columns: number of the epoch from 0, training loss, validation loss (the mean squared error of standardised
    values), mean absolute error and root mean squared error (likewise), and the learning rate during the epoch. Without
    validation its columns are None. A resumed run continues the history of the run it resumes.

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
        self._validation: dict[str, float] = {}
        self._lr = math.nan
        self._trains = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Record whether training follows; Lightning calls this before it loads a checkpoint."""
        self._trains = stage == "fit"

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Record the learning rate of the epoch."""
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the results of a validation."""
        if not trainer.sanity_checking:
            metrics = trainer.callback_metrics
            names = ("val_loss", "val_mae", "val_rmse")
            self._validation = {name: float(metrics[name]) for name in names if name in metrics}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Add the epoch, print its line, write the file."""
        metrics = trainer.callback_metrics
        train_loss = pl_module.epoch_loss() if hasattr(pl_module, "epoch_loss") else metrics.get("train_loss")
        loss = self._validation.get("val_loss")
        row = {
            "epoch": trainer.current_epoch,
            "train_loss": None if train_loss is None else float(train_loss),
            "val_loss": loss,
            "val_mae": self._validation.get("val_mae"),
            "val_rmse": self._validation.get("val_rmse", None if loss is None else math.sqrt(loss)),
            "lr": self._lr,
        }
        self._validation = {}
        earlier = [i for i, epoch in enumerate(self.history["epoch"]) if epoch < row["epoch"]]
        for name, value in row.items():
            self.history[name] = [self.history[name][i] for i in earlier] + [value]
        if not trainer.is_global_zero:
            return
        if self.verbose:
            print(self._format_line(row), flush=True)
        columns = (self.history[name] for name in COLUMNS)
        rows = [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]
        write_history(self._csv_path(trainer), COLUMNS, rows)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values; `judged`, the validation of the epoch under way, is a name of the file format."""
        return {"history": self.history, "judged": self._validation, "lr": self._lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the history of a checkpoint that training resumes from; keep the own one where it is only tested."""
        if not self._trains:
            return
        self.history = {name: list(values) for name, values in state_dict["history"].items()}
        self._validation, self._lr = dict(state_dict["judged"]), state_dict["lr"]

    @staticmethod
    def _format_line(row: dict[str, Any]) -> str:
        parts = [f"epoch {row['epoch']:3d}"]
        parts += [
            f"{name} {row[name]:.6f}"
            for name in ("train_loss", "val_loss", "val_mae", "val_rmse")
            if row[name] is not None
        ]
        return "  ".join([*parts, f"lr {row['lr']:.1e}"])

    def _csv_path(self, trainer: pl.Trainer) -> Path:
        if self.path is not None:
            return self.path
        folder = getattr(trainer.checkpoint_callback, "dirpath", None) or trainer.default_root_dir
        return Path(folder) / "metrics.csv"
