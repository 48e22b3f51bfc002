"""train_tft_lightning: from a config to a trained model, with the files that its users know."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from polars import Boolean, DataFrame

from fusecast.compat.lightning_scripts.config import NETWORK, LightningTrainingConfig
from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.metrics_callback import MetricsCallback
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.compat.lightning_scripts.table import NEEDED, SEQUENCES, STEPS
from fusecast.data.samples import sample_path
from fusecast.io.atomic import write_text_atomically
from fusecast.io.tables import read_table
from fusecast.reporting.training_images import draw_training_images
from fusecast.runtime.distributed import is_first_process
from fusecast.runtime.lock import lock_folder
from fusecast.training.callbacks.images import ImageLogger
from fusecast.training.callbacks.progress import notify
from fusecast.training.checkpoints import choose_checkpoint, load_training_state, require_same_network
from fusecast.training.trainer import RunFiles, TrainingRun, quiet_lightning

LOGS, CONFIG = "tft_logs", "training_config.json"


def train_tft_lightning(
    config: LightningTrainingConfig | None = None,
) -> tuple[TemporalFusionTransformerLightning, pl.Trainer]:
    """Train on the table of ``config.data_path``, or on the bundled data.

    Writes ``tft-epoch=..-val_loss=....ckpt`` (the best), ``last.ckpt``, ``previous.ckpt``, ``metrics.csv``,
    ``training_config.json`` and the logs in ``tft_logs`` into ``config.checkpoint_dir``, and prints what it does.

    Returns
    -------
    The model with the weights that validated best, and the trainer.

    Raises
    ------
    ConfigError, DataError, TrainingError, ArtifactError
        In words.
    """
    config = config or LightningTrainingConfig()
    options, folder = config.training(), Path(config.checkpoint_dir)
    loaders = make_dataloaders(_table(config.data_path), config.window_size, config.batch_size, seed=config.random_seed)
    datasets = [loader.steps for loader in loaders]
    names = datasets[0].names
    features = len(names)
    _tell(f"{features} features, windows of {config.window_size} steps")
    _tell("windows: " + ", ".join(f"{len(each):,} {part}" for each, part in zip(datasets, PARTS, strict=True)))
    resume = _checkpoint(config, features)
    files = RunFiles(checkpoints=folder, history=None, logs=folder / LOGS)
    with lock_folder(folder), quiet_lightning():
        if is_first_process():
            _write_config(config, folder / CONFIG)
        pl.seed_everything(config.random_seed, workers=True, verbose=False)
        model = TemporalFusionTransformerLightning(
            features,
            **{name: getattr(config, name) for name in NETWORK},
            output_size=features,
            learning_rate=config.learning_rate,
            lr_scheduler_factor=config.lr_scheduler_factor,
            lr_scheduler_patience=config.lr_scheduler_patience,
            seed=config.random_seed,
        )
        _tell(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
        run = TrainingRun(
            options,
            files,
            callbacks=[MetricsCallback(folder / "metrics.csv"), ImageLogger(names, draw_training_images)],
            print_epochs=False,
        )
        trainer = run.trainer
        _tell(f"training on {trainer.accelerator.name()}, precision {trainer.precision}")
        if run.fit(model, loaders[0], loaders[1], ckpt_path=resume):
            if run.best_checkpoint is None and is_first_process():
                notify('interrupted before the first epoch was validated; ckpt_path="last" goes on where it stopped')
            raise SystemExit(INTERRUPTED)
        best = run.best.best_model_path
        tested = trainer.test(model, loaders[2], ckpt_path=best or None, verbose=False, weights_only=True)
    _tell(f"best checkpoint: {best}")
    _tell(f"test loss: {tested[0]['test_loss']:.6f}  (mean squared error of standardised values)")
    _tell(f"test MAE:  {tested[0]['test_mae']:.6f}  RMSE: {math.sqrt(tested[0]['test_loss']):.6f}")
    if config.logger == "tensorboard":
        _tell(f"see the curves with: tensorboard --logdir {folder / LOGS}")
    return model, trainer


PARTS = ("to train", "to validate", "to test")
SIZES = ("hidden_size", "num_heads", "num_lstm_layers")
INTERRUPTED = 130
"""What a script ends with after Ctrl+C, as shells count."""


def _table(path: str | None) -> DataFrame:
    """Read the table; columns that are not numbers are left out, and named."""
    frame = read_table(path or sample_path("bike_sharing"))
    keys = (*SEQUENCES, *STEPS, NEEDED)
    left_out = [
        name for name, kind in frame.schema.items() if name not in keys and not kind.is_numeric() and kind != Boolean
    ]
    _tell(f"data: {path or 'bike_sharing, the bundled hourly demand for bikes'}, {frame.height:,} rows")
    if left_out:
        _tell(f"left out, as they are not numbers: {', '.join(left_out)}")
    return frame.drop(left_out)


def _checkpoint(config: LightningTrainingConfig, features: int) -> Path | None:
    """Return the checkpoint to resume from; None to start from the beginning.

    Raises
    ------
    TrainingError
        If it is of another network, or of no training.
    """
    requested = config.checkpoint_to_resume()
    path = None if requested is None else choose_checkpoint(requested, Path(config.checkpoint_dir))
    if path is not None:
        _tell(f"going on from {path}")
        saved = load_training_state(path)["hyper_parameters"]
        require_same_network(path, saved, {"input_size": features, **{name: getattr(config, name) for name in SIZES}})
    return path


def _write_config(config: LightningTrainingConfig, path: Path) -> None:
    write_text_atomically(path, json.dumps(config.to_dict(), indent=2) + "\n")


def _tell(text: Any) -> None:
    if is_first_process():
        print(text, flush=True)
