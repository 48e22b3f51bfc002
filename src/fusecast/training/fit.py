"""fit: from windows to a trained network. Here stands the only Trainer of the package."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.seed import isolate_rng

from fusecast.errors import TrainingError
from fusecast.features.encoded import EncodedPanel
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.artifact import load_weights
from fusecast.training.checkpoint import AtomicCheckpointIO, load_checkpoint
from fusecast.training.config import TrainingConfig
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.device import choose_accelerator, choose_precision
from fusecast.training.history import History
from fusecast.training.limits import Limits
from fusecast.training.module import TFTModule
from fusecast.training.progress import ProgressReport
from fusecast.training.quiet import quiet_lightning
from fusecast.windows.index import WindowIndex


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """What training came to."""

    network: TemporalFusionTransformer  # with the best weights, on the CPU, in eval mode
    best_loss: float | None  # scaled validation loss of these weights (training loss where nothing validates)
    checkpoint: Path | None  # that the weights came from; None if training was interrupted before the first
    history: list[dict[str, Any]]  # one row an epoch, columns as in History
    seconds: float
    stopped_why: str


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Where a run writes."""

    checkpoints: Path  # folder: tft-epoch=..-val_loss=...ckpt (the best) and last.ckpt
    history: Path  # CSV, one row an epoch
    logs: Path  # folder of the logger

    @classmethod
    def under(cls, folder: Path) -> RunFiles:
        """Lay a run out in a folder."""
        return cls(checkpoints=folder / "checkpoints", history=folder / "history.csv", logs=folder / "logs")

    def refuse_to_overwrite(self) -> None:
        """Raise a TrainingError where checkpoints of another run are in the way."""
        found = sorted(path.name for path in self.checkpoints.glob("*.ckpt"))
        if found:
            raise TrainingError.checkpoints_in_the_way(self.checkpoints, found)


def fit(
    *,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    encoded: EncodedPanel,
    train: WindowIndex,
    valid: WindowIndex | None,
    folder: Path,
    resume: Path | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> FitResult:
    """Train a network, and give it back with the weights that validated best.

    Parameters
    ----------
    model_config, training_config
        Shape of the network, and how it is trained.
    encoded
        The panel whose windows are numbered by `train` and `valid`.
    train, valid
        Windows to learn from and to be judged by. Without validation windows (None, or an index of length 0) the
        training loss of an epoch decides about the best weights, the learning rate and early stopping.
    folder
        Where ``checkpoints/``, ``logs/`` and ``history.csv`` are written.
    resume
        A checkpoint of an earlier run of the same configuration to go on from.
    callbacks
        More callbacks for Lightning.

    Raises
    ------
    TrainingError
        If there is no window, if `folder` holds checkpoints of another run, or if a loss is not finite.
    ConfigError
        If the accelerator asked for is absent.
    ArtifactError
        If the checkpoint to resume from is missing, truncated or unsafe.
    """
    if len(train) == 0:
        raise TrainingError.no_windows()
    files = RunFiles.under(folder)
    if resume is None:
        files.refuse_to_overwrite()
    else:
        load_checkpoint(resume)  # refused here, in words, rather than deep inside Lightning
    began = time.monotonic()
    with quiet_lightning(), isolate_rng():
        pl.seed_everything(training_config.seed, workers=True, verbose=False)
        data = WindowDataModule(encoded, train=train, valid=valid, config=training_config)
        module = make_module(model_config, training_config)
        monitor = "val_loss" if data.validates else "train_loss"
        trainer = make_trainer(training_config, files, monitor=monitor, callbacks=callbacks)
        interrupted = _run(trainer, module, data, resume)
    return _result(trainer, module, seconds=time.monotonic() - began, interrupted=interrupted)


def make_module(model: ModelConfig, config: TrainingConfig) -> TFTModule:
    """Make the network and what trains it; its first weights follow from torch's current seed."""
    module = TFTModule(
        model.to_dict(),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_factor=config.lr_scheduler_factor,
        lr_scheduler_patience=config.lr_scheduler_patience,
        seed=config.seed,
    )
    if config.compile:
        module.network.compile()
    return module


def make_trainer(
    config: TrainingConfig, files: RunFiles, *, monitor: str = "val_loss", callbacks: Sequence[pl.Callback] = ()
) -> pl.Trainer:
    """Make the trainer that every run of fusecast goes through.

    Parameters
    ----------
    monitor
        ``val_loss`` or ``train_loss``: what decides about the best weights and early stopping.

    Raises
    ------
    ConfigError
        If the accelerator asked for is absent.
    """
    accelerator = choose_accelerator(config.accelerator, config.devices)
    logger = _logger(config.logger, files.logs)
    history = History(files.history)
    own: list[pl.Callback] = [history, Limits(config.max_steps, config.max_minutes)]
    if config.progress:
        own.append(ProgressReport(history))
    if logger is not None:
        own.append(LearningRateMonitor(logging_interval="epoch"))
    if config.early_stopping_patience is not None:
        own.append(
            EarlyStopping(
                monitor,
                patience=config.early_stopping_patience,
                min_delta=config.early_stopping_min_delta,
                check_finite=False,  # TFTModule refuses such a loss, in words
                check_on_train_epoch_end=True,
            )
        )
    own += checkpoints(files.checkpoints, monitor)
    return pl.Trainer(
        accelerator=accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        precision=choose_precision(config.precision, accelerator),  # type: ignore[arg-type]  # one of Lightning's names
        max_epochs=config.max_epochs,
        gradient_clip_val=config.gradient_clip,
        deterministic=config.deterministic or None,
        logger=logger or False,
        callbacks=[*own, *callbacks],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=files.checkpoints.parent,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def checkpoints(folder: Path, monitor: str) -> list[pl.Callback]:
    """Keep the best epoch, named after its loss, and the last one.

    Both are written at the end of an epoch, after everything else has been updated.
    """
    best = ModelCheckpoint(
        folder, f"tft-{{epoch:02d}}-{{{monitor}:.6f}}", monitor=monitor, save_top_k=1, save_on_train_epoch_end=True
    )
    # `save_last` of the first would be written only when the best is
    last = ModelCheckpoint(folder, "last", save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False)
    return [best, last]


def _logger(name: str, folder: Path) -> Logger | None:
    if name == "tensorboard":
        return TensorBoardLogger(folder.parent, name=folder.name, version="", default_hp_metric=False)
    if name == "csv":
        return CSVLogger(folder.parent, name=folder.name, version="")
    return None


def _run(trainer: pl.Trainer, module: TFTModule, data: WindowDataModule, resume: Path | None) -> bool:
    """Train; say whether the user interrupted it."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl+C, after it has closed everything
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        return True
    finally:
        if main:  # Lightning leaves Ctrl+C switched off
            signal.signal(signal.SIGINT, handler)
    return False


def _result(trainer: pl.Trainer, module: TFTModule, *, seconds: float, interrupted: bool) -> FitResult:
    best = trainer.checkpoint_callback
    assert isinstance(best, ModelCheckpoint)
    path = Path(best.best_model_path) if best.best_model_path else None
    network = module.network.cpu()
    if path is not None:
        state = load_checkpoint(path)["state_dict"]
        prefix = "network."
        load_weights(network, {name.removeprefix(prefix): tensor for name, tensor in state.items()}, path)
    history = next(callback for callback in trainer.callbacks if isinstance(callback, History))
    return FitResult(
        network=network.eval(),
        best_loss=None if best.best_model_score is None else float(best.best_model_score),
        checkpoint=path,
        history=history.rows,
        seconds=seconds,
        stopped_why="it was interrupted" if interrupted else _reason(trainer),
    )


def _reason(trainer: pl.Trainer) -> str:
    for callback in trainer.callbacks:
        if isinstance(callback, Limits) and callback.reached:
            return callback.reached
        if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
            return f"{callback.monitor} did not improve in {callback.wait_count} epochs"
    return f"{trainer.max_epochs} epochs are done"
