"""Steps of the trainer that users have, with everything that Lightning and our callbacks do around them."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.resident import PanelOnDevice
from fusecast.model.config import ModelConfig

WARM_UP = 5  # steps


def by_trainer(
    config: ModelConfig, device: torch.device, options: argparse.Namespace, name: str, panel: PanelOnDevice
) -> dict[str, Any] | None:
    """Windows a second of ``fit``, the panel on the device; None where Lightning, or what comes with it, is missing."""
    try:
        import pytorch_lightning as pl

        from fusecast.config import TrainingConfig
        from fusecast.training.fit import fit
    except ImportError as error:
        print(f"training by the trainer is not measured: {error}")
        return None

    class Clock(pl.Callback):
        """Counts the steps of some seconds after the first few, and ends training."""

        steps, began, seconds = 0, 0.0, 0.0

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            done = trainer.global_step
            if done == WARM_UP:
                _wait(device)
                self.began = time.perf_counter()
            elif done > WARM_UP and time.perf_counter() - self.began >= options.seconds:
                _wait(device)
                self.steps, self.seconds = done - WARM_UP, time.perf_counter() - self.began
                trainer.should_stop = True

    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        fit(
            model_config=config,
            training_config=TrainingConfig(
                batch_size=options.batch,
                windows_per_epoch=panel.windows,
                max_epochs=1_000_000,
                early_stopping_patience=None,
                precision=name,
                accelerator=device.type,
                panel_on_device=True,
                compile=options.compile is not None,
                checkpoint_minutes=None,
                logger="none",
                progress=False,
            ),
            encoded=panel.panel.encoded,
            train=panel.index,
            valid=None,
            folder=Path(scratch),
            callbacks=[clock],
        )
    rate = clock.steps * options.batch / clock.seconds
    return {"precision": name, "batch": options.batch, "windows_per_s": rate, "steps": clock.steps}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
