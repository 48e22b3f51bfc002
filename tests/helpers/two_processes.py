"""Training and predicting on two processes that talk by gloo: a script for the tests of DDP.

python two_processes.py FOLDER      Lightning starts the second process itself, with the same words
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from config_lightning import LightningTrainingConfig  # noqa: E402
from dataset import make_dataloaders  # noqa: E402
from tests.helpers.killed_training import TRAIN, VALID, train, wave  # noqa: E402
from train_tft_lightning import predict_with_model, train_tft_lightning  # noqa: E402

from fusecast.inference.network_predictor import NetworkPredictor  # noqa: E402
from fusecast.runtime.distributed import predict_together  # noqa: E402

EPOCHS, WINDOW = 2, 6
CLASSIC: dict[str, Any] = {
    "hidden_size": 8, "num_heads": 2, "dropout": 0.0, "num_epochs": EPOCHS, "learning_rate": 0.01,
    "window_size": WINDOW, "accelerator": "cpu", "logger": "none",
}  # fmt: skip


class Seen(pl.Callback):
    """Notes which windows a process is given, epoch by epoch."""

    def __init__(self) -> None:
        self.windows: list[list[int]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.windows.append([])

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.windows[-1] += batch.window.tolist()


def table() -> np.ndarray:
    steps = np.arange(160)
    noise = np.random.default_rng(0).normal(scale=0.2, size=(2, 160))
    return np.stack((np.sin(steps / 3) + noise[0], np.cos(steps / 5) + noise[1]), axis=1).astype(np.float32)


def write_table(path: Path) -> str:
    """Write it where the script reads it: the first process does, before it starts the second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        np.savetxt(path, table(), delimiter=",", header="a,b", comments="", fmt="%.9g")
    return str(path)


def everything(folder: Path, devices: int) -> dict[str, Any]:
    """Train both layouts at a global batch of 16, and predict."""
    seen, batch, data_path = Seen(), 16 // devices, write_table(folder / "table.csv")
    options: dict[str, Any] = {"batch_size": batch, "devices": devices, "max_epochs": EPOCHS, "windows_per_epoch": None}
    options |= {"learning_rate": 0.01}
    result = train(folder / "run", [seen], dropout=0.0, **options)
    as_it_is = SimpleNamespace(invert=lambda quantiles, center, scale: quantiles)
    predictor = NetworkPredictor(result.network, as_it_is, batch_size=7, device="cpu")  # type: ignore[arg-type]
    forecasts = predict_together(lambda part: predictor.predict(wave(), part), VALID)

    config = LightningTrainingConfig(
        **CLASSIC,
        batch_size=batch,
        devices=devices,
        data_path=data_path,
        checkpoint_dir=str(folder / "classic"),
    )
    _, trainer = train_tft_lightning(config)
    test = make_dataloaders(table(), WINDOW, 5)[2]
    best = trainer.checkpoint_callback.best_model_path
    predictions, actuals = predict_with_model(best, test, "cpu", together=devices > 1)
    return {
        "seen": seen.windows,
        "train": [row["train_loss"] for row in result.history],
        "valid": [row["val_loss"] for row in result.history],
        "quantiles": forecasts.quantiles.tolist(),
        "classic": {name: float(trainer.callback_metrics[name]) for name in ("test_loss", "test_mae")},
        "predictions": predictions.tolist(),
        "actuals": actuals.tolist(),
        "windows": len(TRAIN),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    there = Path(sys.argv[1])
    found = everything(there, devices=2)
    rank = torch.distributed.get_rank()
    (there / f"rank{rank}.json").write_text(json.dumps(found), encoding="utf-8")
