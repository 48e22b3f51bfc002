"""Runs of the four familiar modules that kill themselves: a script for the tests of resumption.

python killed_script_training.py LAYOUT FOLDER WHEN ...

LAYOUT is ``script`` (train_tft_lightning) or ``trainer`` (a Trainer that the user makes); for WHEN see
tests/helpers/killed_training.py.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from config_lightning import LightningTrainingConfig  # noqa: E402
from dataset import make_dataloaders  # noqa: E402
from tests.helpers.tables import two_waves  # noqa: E402
from tft_lightning_model import MetricsCallback, TemporalFusionTransformerLightning  # noqa: E402
from train_tft_lightning import train_tft_lightning  # noqa: E402

from fusecast.training.checkpoints import newest_checkpoint  # noqa: E402

WINDOW, BATCH, EPOCHS = 6, 16, 4
NETWORK: dict[str, Any] = {"hidden_size": 8, "num_heads": 2, "dropout": 0.2}


class SelfKillingModule(TemporalFusionTransformerLightning):
    """Ends its process by SIGKILL, which no process can catch."""

    when = "never"
    validations = 0

    def on_before_backward(self, loss: Any) -> None:
        if self.when.isdigit() and self.global_step == int(self.when):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_validation_batch_end(self, *_: Any) -> None:
        SelfKillingModule.validations += 1
        if self.when == "validation" and SelfKillingModule.validations == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def by_script(folder: Path, when: str) -> tuple[Any, Any]:
    """Train as the script does."""
    import fusecast.compat.lightning_scripts.train as script

    folder.mkdir(parents=True, exist_ok=True)
    two_waves().write_parquet(folder / "table.parquet")
    SelfKillingModule.when = when
    script.TemporalFusionTransformerLightning = SelfKillingModule
    config = LightningTrainingConfig(
        **NETWORK,
        num_epochs=EPOCHS,
        learning_rate=0.6,
        batch_size=BATCH,
        lr_scheduler_patience=0,
        early_stopping_patience=3,
        window_size=WINDOW,
        data_path=str(folder / "table.parquet"),
        checkpoint_dir=str(folder / "checkpoints"),
        ckpt_path="last" if (folder / "checkpoints").exists() else None,
        accelerator="cpu",
        checkpoint_steps=2,
        logger="none",
    )
    return train_tft_lightning(config)


def by_trainer(folder: Path, when: str) -> tuple[Any, Any]:
    """Train with a Trainer of Lightning, with its defaults."""
    warnings.simplefilter("ignore")  # Lightning's advice
    pytorch_lightning.seed_everything(7, verbose=False)
    train, valid, _ = make_dataloaders(two_waves(), WINDOW, BATCH)
    SelfKillingModule.when = when
    model = SelfKillingModule(2, **NETWORK, learning_rate=0.3, lr_scheduler_patience=0, seed=7)
    trainer = pytorch_lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[
            MetricsCallback(verbose=False),
            EarlyStopping("val_loss", patience=3),
            ModelCheckpoint(folder, monitor="val_loss"),
            ModelCheckpoint(folder, "step-{step}", every_n_train_steps=2, save_top_k=-1),
            ModelCheckpoint(folder, "epoch-{epoch}", save_top_k=-1),
        ],
    )
    newest = newest_checkpoint(folder)[0]
    trainer.fit(model, train, valid, ckpt_path=newest, weights_only=True)
    return model, trainer


def run(layout: str, folder: Path, when: str) -> tuple[Any, Any]:
    """Train in this process."""
    torch.set_num_threads(1)
    return {"script": by_script, "trainer": by_trainer}[layout](folder, when)


def run_and_be_killed(layout: str, folder: Path, when: str) -> None:
    """Train in a process of its own; this one has loaded all libraries and never trains, so forking it is safe."""
    child = os.fork()
    if child == 0:
        run(layout, folder, when)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(f"the run that was to be killed at {when} ended with status {status}")


if __name__ == "__main__":
    for moment in sys.argv[3:]:
        run_and_be_killed(sys.argv[1], Path(sys.argv[2]), moment)
