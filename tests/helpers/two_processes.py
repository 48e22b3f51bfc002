"""Training and predicting on two processes that talk by gloo: a script for the tests of DDP.

python two_processes.py FOLDER compare      train the two layouts, and predict
python two_processes.py FOLDER terminate    train, with a SIGTERM to the first process alone, and exit in the epoch
python two_processes.py FOLDER interrupt    go on, with a Ctrl+C in the first process alone, and stop there
python two_processes.py FOLDER resume       go on from there

Lightning starts the second process itself, with the same words.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from config_lightning import LightningTrainingConfig  # noqa: E402
from dataset import make_dataloaders  # noqa: E402
from tests.helpers.killed_training import TRAIN, train  # noqa: E402
from tests.helpers.quiet_trainer import trainer  # noqa: E402
from tests.helpers.tables import two_waves  # noqa: E402
from tft_lightning_model import TemporalFusionTransformerLightning  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from train_tft_lightning import predict_with_model, train_tft_lightning  # noqa: E402

from fusecast.runtime.distributed import is_first_process  # noqa: E402

EPOCHS, WINDOW, GLOBAL_BATCH = 2, 6, 16
SCRIPT_OPTIONS: dict[str, Any] = {
    "hidden_size": 8, "num_heads": 2, "dropout": 0.0, "num_epochs": EPOCHS, "learning_rate": 0.01,
    "window_size": WINDOW, "accelerator": "cpu", "logger": "none",
}  # fmt: skip


class SeenWindows(pl.Callback):
    """Record which windows a process is given, epoch by epoch."""

    def __init__(self) -> None:
        self.windows: list[list[int]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.windows.append([])

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.windows[-1] += batch.window.tolist()


class Signal(pl.Callback):
    """Send a signal to the first process, after a step."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_global_zero and trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def table() -> np.ndarray:
    return two_waves().to_numpy().astype(np.float32)


def write_table(path: Path) -> str:
    """Write it where the script reads it: the first process does, before it starts the second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        np.savetxt(path, table(), delimiter=",", header="a,b", comments="", fmt="%.9g")
    return str(path)


def train_windows(folder: Path, devices: int, *callbacks: pl.Callback, resume: bool = False) -> dict[str, Any]:
    """Train the windows of a panel at a global batch of 16."""
    result = train(
        folder / "run",
        callbacks,
        resume=resume,
        dropout=0.0,
        batch_size=GLOBAL_BATCH // devices,
        devices=devices,
        max_epochs=EPOCHS,
        windows_per_epoch=None,
        min_epoch_steps=1,
        learning_rate=0.01,
    )
    return {
        "train": [row["train_loss"] for row in result.history],
        "valid": [row["val_loss"] for row in result.history],
        "weights": torch.cat([tensor.flatten() for tensor in result.network.state_dict().values()]).tolist(),
        "stopped_why": result.stopped_why,
        "windows": len(TRAIN),
    }


def train_script(folder: Path, devices: int) -> dict[str, Any]:
    """Train as the script does at a global batch of 16, and predict."""
    config = LightningTrainingConfig(
        **SCRIPT_OPTIONS,
        batch_size=GLOBAL_BATCH // devices,
        devices=devices,
        data_path=write_table(folder / f"table_{os.getpid()}.csv"),  # no process reads what the other writes
        checkpoint_dir=str(folder / "script"),
    )
    _, trainer = train_tft_lightning(config)
    test = make_dataloaders(table(), WINDOW, 5)[2]
    best = trainer.checkpoint_callback.best_model_path
    predictions, actuals = predict_with_model(best, test, "cpu", together=devices > 1)
    return {
        "tested": {name: float(trainer.callback_metrics[name]) for name in ("test_loss", "test_mae")},
        "predictions": predictions.tolist(),
        "actuals": actuals.tolist(),
    }


def sample_statistics(folder: Path, devices: int) -> dict[str, Any]:
    """Train one step with a DataLoader of the user, whose dataset has no statistics and differs in each process."""
    first, second = np.array_split(table(), 2)
    values = torch.as_tensor(first if is_first_process() else second)
    pairs = [(values[i : i + 1], values[i + 1]) for i in range(len(values) - 1)]
    module = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2, seed=0)
    trainer(folder, devices=devices, limit_train_batches=1).fit(module, DataLoader(pairs, batch_size=8, shuffle=True))
    mean, deviation = values[:-1].mean(dim=0), values[:-1].std(dim=0, correction=0)
    return {
        "statistics": [*module.center.tolist(), *module.scale.tolist()],
        "own_statistics": [*mean.tolist(), *deviation.tolist()],
    }


def compare(folder: Path, devices: int) -> dict[str, Any]:
    seen = SeenWindows()
    outcome = train_windows(folder, devices, seen) | {"seen": seen.windows} | train_script(folder, devices)
    return outcome | sample_statistics(folder, devices)


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl+C
    folder, action = Path(sys.argv[1]), sys.argv[2]
    if action == "compare":
        outcome = compare(folder, devices=2)
    elif action == "terminate":
        outcome = train_windows(folder, 2, Signal(signal.SIGTERM, 3))
    elif action == "interrupt":
        outcome = train_windows(folder, 2, Signal(signal.SIGINT, 10), resume=True)
        time.sleep(6)  # a process that Lightning takes for failed is killed with the others within five seconds
    else:
        outcome = train_windows(folder, 2, resume=True)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    (folder / f"rank{rank}.json").write_text(json.dumps(outcome), encoding="utf-8")
