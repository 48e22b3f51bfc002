"""Build and run the Lightning Trainer: files, callbacks, loggers, interruption."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor
from pytorch_lightning.trainer.states import TrainerStatus

from fusecast.errors import TrainingError
from fusecast.runtime.device import choose_accelerator, choose_precision
from fusecast.training.callbacks.history import History
from fusecast.training.callbacks.images import ImageLogger
from fusecast.training.callbacks.interruption import Interruption
from fusecast.training.callbacks.last_checkpoint import LastCheckpoint
from fusecast.training.callbacks.limits import Limits
from fusecast.training.callbacks.progress import ProgressReport, say
from fusecast.training.checkpoints import AtomicCheckpointIO, MovableCheckpoint
from fusecast.training.config import TrainingConfig
from fusecast.training.loggers import make_logger

SILENCED = (
    r".*does not have many workers.*",  # gathering a batch is quicker than sending it between processes
    r".*Checkpoint directory .* exists and is not empty.*",  # refused by us, or a resumed run
    r".*available but not used.*",  # the user chose the accelerator
    r"Be aware that when using `ckpt_path`, callbacks used.*",  # who watches a resumed run may change
    r"Grad strides do not match bucket view strides.*",  # of a [1, d, d] weight, whose layout is the same either way
    r"The number of training batches .* is smaller than the logging interval.*",  # epochs are logged in any case
    r".*isinstance\(treespec, LeafSpec\).* is deprecated.*",  # Lightning's own call of torch
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's information and the warnings that do not apply to us; others pass."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message in SILENCED:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Where a run writes."""

    checkpoints: Path  # folder: tft-epoch=..-val_loss=...ckpt (the best) and last.ckpt
    history: Path | None  # CSV, one row an epoch; None: not written
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


def make_trainer(
    config: TrainingConfig,
    files: RunFiles,
    *,
    monitor: str = "val_loss",
    names: Sequence[str] = (),
    callbacks: Sequence[pl.Callback] = (),
    lines: bool = True,
) -> pl.Trainer:
    """Make the trainer that every run of fusecast goes through.

    Parameters
    ----------
    monitor
        ``val_loss``, or ``train_loss`` where nothing validates: what decides about the best weights and early stopping.
    names
        Of the past variables, for the pictures in the log; without names nothing is drawn.
    lines
        Print a line an epoch (or leave that to one of the callbacks).

    Raises
    ------
    ConfigError
        If the accelerator asked for is absent, or the library of the logger is not installed.
    """
    accelerator = choose_accelerator(config.accelerator, config.devices)
    logger = make_logger(config.logger, files.logs)
    history = History(files.history)
    own: list[pl.Callback] = [history, Limits(config.max_steps, config.max_minutes), Interruption()]
    if config.progress:
        own.append(ProgressReport(history, lines=lines))
    if names:
        own.append(ImageLogger(names))
    if logger is not None:
        own.append(LearningRateMonitor(logging_interval="epoch"))
    if config.early_stopping_patience is not None:
        own.append(
            EarlyStopping(
                monitor,
                patience=config.early_stopping_patience,
                min_delta=config.early_stopping_min_delta,
                check_finite=False,  # ResumableModule refuses such a loss, in words
                check_on_train_epoch_end=True,
            )
        )
    best = MovableCheckpoint(
        files.checkpoints,
        f"tft-{{epoch:02d}}-{{{monitor}:.6f}}",
        monitor=monitor,
        save_top_k=1,
        save_on_train_epoch_end=True,
    )
    last = LastCheckpoint(files.checkpoints, steps=config.checkpoint_steps, minutes=config.checkpoint_minutes)
    own += [best, last]
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
        use_distributed_sampler=False,  # our samplers give each process its share
        default_root_dir=files.checkpoints.parent,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        limit_val_batches=None if monitor == "val_loss" else 0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def run_training(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    train: Any = None,
    valid: Any = None,
    *,
    datamodule: pl.LightningDataModule | None = None,
    ckpt_path: Path | None = None,
) -> bool:
    """Train with a trainer of :func:`make_trainer`; say whether the user interrupted it.

    Parameters
    ----------
    train, valid, datamodule, ckpt_path
        Loaders (or what makes them) and checkpoint, as ``Trainer.fit`` takes them.

    Raises
    ------
    SystemExit
        With code 143 where the process was told to terminate (SIGTERM): what is half trained is no result.
    """
    there: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a helper of Lightning's
    (interruption,) = (each for each in there if isinstance(each, Interruption))
    try:
        with interruption.listening():
            trainer.fit(module, train, valid, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl+C and of SIGTERM, after it has closed everything
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        if trainer.received_sigterm:
            if trainer.is_global_zero:
                say("terminated: the checkpoints so far are kept, and training can be resumed from them")
            raise SystemExit(128 + signal.SIGTERM) from None
        return True
    return False
