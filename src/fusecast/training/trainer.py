"""TrainingRun: the Lightning trainer of every run of fusecast, with its files, callbacks and loggers."""

from __future__ import annotations

import logging
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor
from pytorch_lightning.loggers import Logger
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from fusecast.errors import ArtifactError, TrainingError
from fusecast.errors.base import shorten
from fusecast.runtime.device import choose_accelerator, choose_precision
from fusecast.training.callbacks.averaging import CURRENT_WEIGHTS, WeightAverage
from fusecast.training.callbacks.history import History
from fusecast.training.callbacks.progress import ProgressReport, notify
from fusecast.training.callbacks.stopping import Interrupted, Interruption, Limits
from fusecast.training.checkpoints import (
    AtomicCheckpointIO,
    LastCheckpoint,
    MovableCheckpoint,
    RunFolder,
    load_checkpoint,
    require_types,
)
from fusecast.training.loggers import make_logger

if TYPE_CHECKING:
    from fusecast.config import TrainingConfig

SILENCED = (
    r".*does not have many workers.*",  # gathering a batch is quicker than sending it between processes
    r".*Checkpoint directory .* exists and is not empty.*",  # refused by us, or a resumed run
    r".*available but not used.*",  # the user chose the accelerator
    r"Be aware that when using `ckpt_path`, callbacks used.*",  # those of a resumed run may change
    r"Grad strides do not match bucket view strides.*",  # of a [1, d, d] weight, whose layout is the same either way
    r"The number of training batches .* is smaller than the logging interval.*",  # epochs are logged in any case
    r".*isinstance\(treespec, LeafSpec\).* is deprecated.*",  # Lightning's own call of torch
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's information and the warnings that do not apply to us; others pass.

    TensorBoard's thread prints a traceback where its disk is full, and raises the same error in the main thread.
    """

    def print_traceback(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            excepthook(args)

    excepthook, threading.excepthook = threading.excepthook, print_traceback
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
        threading.excepthook = excepthook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Where a run writes."""

    checkpoints: Path  # folder: tft-epoch=..-val_loss=...ckpt (the best), last.ckpt and previous.ckpt
    history: Path | None  # CSV, one row an epoch; None: not written
    logs: Path  # folder of the logger
    are_kept: bool = True  # when the process has ended

    @classmethod
    def in_folder(cls, folder: Path, *, are_kept: bool = True) -> RunFiles:
        """Return the usual files of a run in a folder."""
        checkpoints, history = folder / "checkpoints", folder / "history.csv"
        return cls(checkpoints=checkpoints, history=history, logs=folder / "logs", are_kept=are_kept)

    def refuse_to_overwrite(self) -> None:
        """Raise a TrainingError where checkpoints of another run are in the way."""
        names = sorted(path.name for path in self.checkpoints.glob("*.ckpt"))
        if names:
            raise TrainingError.checkpoints_exist(self.checkpoints, names)


class TrainingRun:
    """A Lightning trainer, and those of its callbacks that are read when training has ended.

    Lightning calls the callbacks in this order: the check of the folder, the average of the weights, history, limits,
    progress, learning rate, early stopping; those of the user; then whatever writes checkpoints: the best one, those of
    the user, ``last.ckpt``, interruption. What ``last.ckpt`` holds is therefore the state of all the others after the
    same step.

    `monitor` (``val_loss``, or ``train_loss`` where nothing is validated) decides about the best weights and early
    stopping, and without it the last weights are the best; `logger` (one of Lightning's, or several) replaces that of
    the configuration; without `print_epochs` one of `callbacks` prints the line of an epoch, which `name` precedes;
    `run_folder` watches the folder of the run. A ConfigError is raised where the requested accelerator is absent, or
    the library of the logger is not installed.
    """

    def __init__(
        self,
        config: TrainingConfig,
        files: RunFiles,
        *,
        monitor: str | None = "val_loss",
        callbacks: Sequence[pl.Callback] = (),
        logger: Logger | Sequence[Logger] | None = None,
        print_epochs: bool = True,
        run_folder: RunFolder | None = None,
        name: str = "",
    ) -> None:
        accelerator = choose_accelerator(config.accelerator, config.devices)
        loggers = logger if logger is not None else make_logger(config.logger, files.logs)
        self._files_are_kept = files.are_kept
        self.history = History(files.history)
        self.limits = Limits(config.max_steps, config.max_minutes)
        self.early_stopping: EarlyStopping | None = None
        file_name = f"tft-{{epoch:02d}}-{{{monitor}:.6f}}" if monitor else "tft-{epoch:02d}-{step}"
        self.best = MovableCheckpoint(
            files.checkpoints,
            file_name,
            monitor=monitor,
            save_on_train_epoch_end=True,
            enable_version_counter=False,  # a resumed run writes the file of an epoch that it repeats anew
        )
        self.folder = run_folder or RunFolder()
        self.last = LastCheckpoint(
            files.checkpoints, self.folder, steps=config.checkpoint_steps, minutes=config.checkpoint_minutes
        )
        self.interruption = Interruption(self.last)
        averaging = [WeightAverage()] if config.average_weights else []
        first: list[pl.Callback] = [self.folder, *averaging, self.history, self.limits]
        self.print_progress = config.progress
        if config.progress:
            first.append(ProgressReport(self.history, lines=print_epochs, name=name))
        if loggers:
            first.append(LearningRateMonitor(logging_interval="epoch"))
        if config.early_stopping_patience is not None and monitor:
            self.early_stopping = EarlyStopping(
                monitor,
                patience=config.early_stopping_patience,
                min_delta=config.early_stopping_min_delta,
                check_finite=False,  # ResumableModule refuses such a loss, with a clearer message
                check_on_train_epoch_end=True,
            )
            first.append(self.early_stopping)
        self.trainer = pl.Trainer(
            accelerator=accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            precision=choose_precision(config.precision, accelerator),  # type: ignore[arg-type]  # one of Lightning's
            max_epochs=config.max_epochs,
            gradient_clip_val=config.gradient_clip,
            deterministic=config.deterministic or None,
            logger=loggers or False,
            callbacks=[*first, self.best, *callbacks, self.last, self.interruption],
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,  # our samplers give each process its share
            default_root_dir=files.checkpoints.parent,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            limit_val_batches=None if monitor == "val_loss" else 0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def __repr__(self) -> str:
        return f"TrainingRun(epochs={len(self.history.rows)}, folder={str(self.best.dirpath)!r})"

    def fit(
        self,
        module: pl.LightningModule,
        train: Any = None,
        valid: Any = None,
        *,
        ckpt_path: Path | None = None,
        **options: Any,
    ) -> bool:
        """Call ``Trainer.fit`` with these arguments, and return whether the user interrupted it.

        A terminated process (SIGTERM) exits with code 143: a half trained network is no result. Raise a TrainingError
        where the content of the checkpoint `ckpt_path` is not that of a training like this.
        """
        if ckpt_path is not None:
            require_types(ckpt_path, self._state_before_training(module), load_checkpoint(ckpt_path))
        with self.interruption.handle_signals():
            interrupted = self._fit(module, train, valid, ckpt_path, **options)
            if not self._files_are_kept:
                kept = "terminated: nothing of this training is kept"
            elif any(self.last.folder.glob("*.ckpt")):
                kept = "terminated: the checkpoints so far are kept, and training can be resumed from them"
            else:
                kept = "terminated before the first checkpoint: resumed training starts from the beginning"
            self._exit_where_terminated(kept)
        if interrupted and self.print_progress and self.history.rows and self.trainer.is_global_zero:
            notify("interrupted: the best weights so far are kept")
        return interrupted

    def test(self, module: pl.LightningModule, data: Any, ckpt_path: str | None) -> Mapping[str, float] | None:
        """Return the results of ``Trainer.test``, None where the user interrupted it.

        A terminated process (SIGTERM) exits with code 143.
        """
        tested: list[Mapping[str, float]] = []
        with self.interruption.handle_signals():
            with self._until_interrupted():
                tested = self.trainer.test(module, data, ckpt_path=ckpt_path, verbose=False, weights_only=True)
            self._exit_where_terminated("terminated: training is complete, and its checkpoints are kept")
        return tested[0] if tested else None

    def _fit(self, module: pl.LightningModule, train: Any, valid: Any, ckpt_path: Path | None, **options: Any) -> bool:
        """Return whether training was interrupted or terminated."""
        interrupted = True
        try:
            with self._until_interrupted():
                self.trainer.fit(module, train, valid, ckpt_path=ckpt_path, **options, weights_only=True)
                interrupted = False
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
            if ckpt_path is None or not _was_raised_in(error, "checkpoint_connector.py"):
                raise
            reason = f"its content makes no sense ({type(error).__name__}: {shorten(str(error))})"
            raise TrainingError.checkpoint_mismatch(ckpt_path, reason) from error
        except (OSError, ArtifactError):  # such as of a logger or a checkpoint whose folder is no more
            self.folder.require_own()
            raise
        return interrupted

    @contextmanager
    def _until_interrupted(self) -> Iterator[None]:
        """End the block, without an error, where Ctrl+C or SIGTERM ends a run of Lightning."""
        try:
            yield
        except Interrupted:
            pass
        except SystemExit as error:  # what Lightning makes of a second Ctrl+C, and of SIGTERM before the first step
            if not (isinstance(error.__context__, KeyboardInterrupt) or self.interruption.is_terminated(self.trainer)):
                raise

    def _exit_where_terminated(self, text: str) -> None:
        """Print a line and exit, where this run has received SIGTERM.

        The other processes exit with code 0: Lightning kills the first one five seconds after another has failed.
        """
        if self.interruption.is_terminated(self.trainer):
            if self.trainer.is_global_zero:
                notify(text)
            raise SystemExit(128 + signal.SIGTERM if self.trainer.is_global_zero else 0)

    def _state_before_training(self, module: pl.LightningModule) -> dict[str, Any]:
        """Return what a checkpoint of this training would hold, apart from its progress."""
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        falls = getattr(module, "lr_schedule", "plateau") == "plateau"
        scheduler = ReduceLROnPlateau(optimizer) if falls else LambdaLR(optimizer, lambda _: 1.0)
        states = {callback.state_key: callback.state_dict() for callback in self.trainer.callbacks}  # type: ignore[attr-defined]  # of the trainer
        return {
            "epoch": 0,
            "global_step": 0,
            "state_dict": module.state_dict(),
            CURRENT_WEIGHTS: dict(module.named_parameters()),
            "loops": {"fit_loop": self.trainer.fit_loop.state_dict()},
            "callbacks": states,
            "optimizer_states": [{"state": {}, "param_groups": [{"betas": [0.9]}]}],
            "lr_schedulers": [scheduler.state_dict()],
            "hyper_parameters": dict(module.hparams),
            "epoch_loss": [0.0],
        }

    @property
    def best_checkpoint(self) -> Path | None:
        """The file of the best weights; None before the first validated epoch, or where its writing was broken off."""
        path = Path(self.best.best_model_path)
        return path if self.best.best_model_path and path.is_file() else None

    @property
    def stop_reason(self) -> str:
        """Why training that was not interrupted has ended."""
        if self.limits.reached:
            return self.limits.reached
        early = self.early_stopping
        if early is not None and early.wait_count >= early.patience:
            return f"{early.monitor} did not improve in {early.wait_count} epochs"
        return f"{self.trainer.max_epochs} epochs are done"


def _was_raised_in(error: BaseException, file: str) -> bool:
    """Whether an error was raised by a function of a file, or by what that called."""
    return any(Path(frame.filename).name == file for frame in traceback.extract_tb(error.__traceback__))
