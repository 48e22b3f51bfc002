"""train_tft_lightning: train a model from a config and write the files of the scripts; and their command line."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from polars import Boolean, DataFrame

from fusecast.compat.lightning_scripts.config import (
    NETWORK_SETTINGS,
    LightningTrainingConfig,
    find_similar_setting,
    find_unknown_attributes,
    make_instance,
    parse_overrides,
    read_settings,
)
from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.metrics_callback import MetricsCallback
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.compat.lightning_scripts.table import KEYS
from fusecast.data.samples import sample_path
from fusecast.errors import FusecastError
from fusecast.errors.artifact import translate_os_errors
from fusecast.io.atomic import write_text_atomically
from fusecast.io.tables import read_table
from fusecast.reporting.training_images import draw_training_images
from fusecast.runtime.device import choose_accelerator
from fusecast.runtime.distributed import is_first_process
from fusecast.runtime.lock import lock_folder
from fusecast.training.callbacks.images import ImageLogger
from fusecast.training.callbacks.progress import notify
from fusecast.training.checkpoints import (
    IDENTITY,
    RunFolder,
    choose_checkpoint,
    identify_run,
    load_training_state,
    require_same_network,
)
from fusecast.training.trainer import RunFiles, TrainingRun, quiet_lightning

LOGS, CONFIG, METRICS = "tft_logs", "training_config.json", "metrics.csv"
EXIT_INTERRUPTED = 130
"""Exit code of a script after Ctrl+C, by the convention of shells."""


def main(arguments: Sequence[str] | None = None, *, defaults: Any = LightningTrainingConfig) -> None:
    """Run ``train_tft_lightning.py``; print an error that the user can correct, and exit with code 2."""
    parser = argparse.ArgumentParser(description="Train a Temporal Fusion Transformer to forecast the next step.")
    parser.add_argument(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="settings of config_lightning.py to override, such as num_epochs=10 hidden_size=64 data_path=table.csv",
    )
    overrides: list[str] = parser.parse_args(arguments).config
    try:
        train_tft_lightning(argparse.Namespace(**parse_overrides(overrides)) if overrides else None, defaults=defaults)
    except FusecastError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)


@translate_os_errors()
def train_tft_lightning(
    config: Any = None, *, defaults: Any = LightningTrainingConfig
) -> tuple[TemporalFusionTransformerLightning, pl.Trainer]:
    """Train on the table of ``config.data_path``, or on the bundled data.

    Writes ``tft-epoch=..-val_loss=....ckpt`` (the best), ``last.ckpt``, ``previous.ckpt``, ``metrics.csv``,
    ``training_config.json`` and the logs in ``tft_logs`` into ``config.checkpoint_dir``, and prints its progress. Files
    of an earlier run that are there, and that this one does not resume, are moved to ``earlier-1`` (``-2``, ...) in it.

    Parameters
    ----------
    config
        Any object or class with settings of :class:`LightningTrainingConfig` as attributes; None has none.
    defaults
        Such an object or class, for the settings that `config` lacks.

    Returns
    -------
    The model with the weights of the smallest validation loss, and the trainer.

    Raises
    ------
    ConfigError
        If a setting is of another type, out of its range or misspelt, or the accelerator is absent.
    DataError
        If the table cannot be read or is too short, see :func:`make_dataloaders`.
    TrainingError, ArtifactError
        If the checkpoint to resume from does not fit or cannot be read, a loss is not finite, or a file cannot be
        written.
    """
    given, config = (defaults, config), read_settings(config, defaults)
    _report_unknown_attributes(*given)
    options, folder = config.training(), Path(config.checkpoint_dir)
    table = _read_features(config.data_path)
    train, valid, test = make_dataloaders(table, config.window_size, config.batch_size, seed=config.random_seed)
    names = train.steps.names
    _print(f"{len(names)} features, windows of {config.window_size} steps")
    counts = (len(train.steps), len(valid.steps), len(test.steps))
    _print("windows: {:,} to train, {:,} to validate, {:,} to test".format(*counts))
    choose_accelerator(options.accelerator, options.devices)
    resume = _choose_checkpoint(config, len(names))
    files = RunFiles(checkpoints=folder, history=None, logs=folder / LOGS)
    with lock_folder(folder) as lock, quiet_lightning():
        if is_first_process() and resume is None:
            _set_earlier_run_aside(folder)
        run_folder = RunFolder(lock, identify_run(folder, resume))
        if is_first_process():
            write_text_atomically(folder / CONFIG, json.dumps(config.to_dict(), indent=2) + "\n")
        pl.seed_everything(config.random_seed, workers=True, verbose=False)
        model = TemporalFusionTransformerLightning(
            len(names),
            **{name: getattr(config, name) for name in NETWORK_SETTINGS},
            learning_rate=config.learning_rate,
            lr_scheduler_factor=config.lr_scheduler_factor,
            lr_scheduler_patience=config.lr_scheduler_patience,
            seed=config.random_seed,
        )
        _print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
        callbacks = [ImageLogger(names, draw_training_images), MetricsCallback(folder / METRICS)]
        run = TrainingRun(options, files, callbacks=callbacks, print_epochs=False, run_folder=run_folder)
        trainer = run.trainer
        _print(f"training on {trainer.accelerator.name()}, precision {trainer.precision}")
        if run.fit(model, train, valid, ckpt_path=resume):
            if run.best_checkpoint is None and is_first_process():
                notify('interrupted before the first epoch was validated; ckpt_path="last" goes on where it stopped')
            raise SystemExit(EXIT_INTERRUPTED)
        best = run.best.best_model_path
        tested = run.test(model, test, best or None)
        if tested is None:
            if is_first_process():
                notify("interrupted: training is complete, and its checkpoints are kept")
            raise SystemExit(EXIT_INTERRUPTED)
    _print(f"best checkpoint: {best}")
    _print(f"test loss: {tested['test_loss']:.6f}  (mean squared error of standardised values)")
    _print(f"test MAE:  {tested['test_mae']:.6f}  RMSE: {math.sqrt(tested['test_loss']):.6f}")
    if config.logger == "tensorboard":
        _print(f"see the curves with: tensorboard --logdir {folder / LOGS}")
    return model, trainer


def _report_unknown_attributes(*configs: Any) -> None:
    """Print the attributes that no setting has the name of, and the settings that may have been meant."""
    names = dict.fromkeys(name for config in configs for name in find_unknown_attributes(make_instance(config)))
    similar = {name: find_similar_setting(name) for name in names}
    if similar and is_first_process():
        shown = (f"{name} (did you mean {meant}?)" if meant else name for name, meant in similar.items())
        notify(f"these attributes of the config are no settings, and change nothing: {', '.join(shown)}")


def _set_earlier_run_aside(folder: Path) -> None:
    """Move the files of an earlier run as a whole into a folder of their own, so that no two runs are mixed."""
    earlier = [*folder.glob("*.ckpt"), *(path for name in (METRICS, LOGS) if (path := folder / name).exists())]
    if not earlier:
        return
    number = 1
    while (aside := folder / f"earlier-{number}").exists():
        number += 1
    _print(
        f"{folder} holds an earlier run, which is moved to {aside}; to go on with that run instead, stop this one, "
        f"and set checkpoint_dir={aside} ckpt_path=last"
    )
    aside.mkdir()
    for path in (*earlier, folder / CONFIG, folder / IDENTITY):
        if path.exists():
            path.rename(aside / path.name)


def _read_features(path: str | Path | None) -> DataFrame:
    """Read the table, without the columns that are neither numbers nor keys; their names are printed."""
    frame = read_table(path or sample_path("bike_sharing"))
    omitted = [
        name for name, dtype in frame.schema.items() if name not in KEYS and not dtype.is_numeric() and dtype != Boolean
    ]
    _print(f"data: {path or 'bike_sharing, the bundled hourly demand for bikes'}, {frame.height:,} rows")
    if omitted:
        _print(f"left out, as they are not numbers: {', '.join(omitted)}")
    return frame.drop(omitted)


def _choose_checkpoint(config: LightningTrainingConfig, features: int) -> Path | None:
    """Return the checkpoint to resume from, if it is of the same network; None to start from the beginning."""
    requested = config.checkpoint_to_resume()
    path = None if requested is None else choose_checkpoint(requested, Path(config.checkpoint_dir))
    if path is not None:
        _print(f"going on from {path}")
        saved = load_training_state(path)["hyper_parameters"]
        sizes = {name: getattr(config, name) for name in ("hidden_size", "num_heads", "num_lstm_layers")}
        require_same_network(path, saved, {"input_size": features, **sizes, "seed": config.random_seed})
    return path


def _print(text: str) -> None:
    """Print a line once, whatever the number of processes."""
    if is_first_process():
        print(text, flush=True)
