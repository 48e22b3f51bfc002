"""fit: from windows to a trained network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities.seed import isolate_rng

from fusecast.errors import TrainingError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.inference.model_bundle import load_weights
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.model.weights import start
from fusecast.runtime.distributed import is_first_process
from fusecast.runtime.lock import lock_folder
from fusecast.runtime.memory import keep_freed_memory
from fusecast.training.callbacks.history import History
from fusecast.training.callbacks.limits import Limits
from fusecast.training.callbacks.progress import say
from fusecast.training.checkpoints import intact_or_newest, load_checkpoint, newest_checkpoint
from fusecast.training.config import TrainingConfig
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.lightning_module import TFTModule
from fusecast.training.trainer import RunFiles, make_trainer, quiet_lightning, run_training
from fusecast.windows.window_index import WindowIndex

C = TypeVar("C", bound=pl.Callback)


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """What training came to."""

    network: TemporalFusionTransformer  # with the best weights, on the CPU, in eval mode
    best_loss: float | None  # scaled validation loss of these weights (training loss where nothing validates)
    checkpoint: Path | None  # that the weights came from; None if training was interrupted before the first
    history: list[dict[str, Any]]  # one row an epoch, columns as in History
    seconds: float
    stopped_why: str


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
    on_start: Callable[[], None] | None = None,
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
        A checkpoint of an earlier run of the same configuration to go on from; where it is truncated, the newest intact
        one beside it, which is said on stderr. A folder stands for its newest intact checkpoint, and for a start from
        the beginning where it holds none.
    callbacks
        More callbacks for Lightning.
    on_start
        Called once, in the first process, when everything has been checked and before anything is written.

    Raises
    ------
    TrainingError
        If there is no window, if `folder` holds checkpoints of another run or one is training there, if the
        checkpoint to resume from belongs to another network or another table, or if a loss is not finite.
    ConfigError
        If the accelerator asked for is absent.
    ArtifactError
        If the checkpoint to resume from is missing, truncated or unsafe.
    SystemExit
        With code 143 where the process was told to terminate (SIGTERM): what is half trained is no result.
    """
    if len(train) == 0:
        raise TrainingError.no_windows()
    files = RunFiles.under(folder)
    began = time.monotonic()
    keep_freed_memory()
    with lock_folder(folder), quiet_lightning(), isolate_rng():
        data = WindowDataModule(encoded, train=train, valid=valid, config=training_config)
        if resume is not None:
            resume = _resumable(resume, model_config, data)
        elif is_first_process():
            files.refuse_to_overwrite()
        if on_start is not None and is_first_process():
            on_start()
        pl.seed_everything(training_config.seed, workers=True, verbose=False)
        module = make_module(model_config, training_config)
        monitor = "val_loss" if data.validates else "train_loss"
        trainer = make_trainer(
            training_config, files, monitor=monitor, names=encoded.inputs.past_names, callbacks=callbacks
        )
        try:
            interrupted = run_training(trainer, module, datamodule=data, ckpt_path=resume)
        finally:
            data.teardown("fit")  # which Lightning does not call where training breaks off
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
    if config.start == "paper":
        start(module.network)
    if config.compile:
        module.network.compile()
    return module


def _resumable(asked: Path, model: ModelConfig, data: WindowDataModule) -> Path | None:
    """Choose the checkpoint; refuse an unfit one before anything is written, not deep inside Lightning."""
    found = newest_checkpoint(asked) if asked.is_dir() else intact_or_newest(asked)
    if found.skipped:
        say(found.in_words())
    if found.path is None:
        say(f"{asked} holds no checkpoint yet: training starts from the beginning")
        return None
    content = load_checkpoint(found.path)
    if not content.keys() >= {"state_dict", "optimizer_states", "loops", "epoch_loss", "hyper_parameters"}:
        raise TrainingError.unfit_checkpoint(found.path, "it holds no state of a training by fusecast")
    usual = {option.name: option.default for option in fields(ModelConfig)}  # for options that came later
    then, now = {**usual, **content["hyper_parameters"]["model"]}, model.to_dict()
    differences = [f"{name} was {then[name]} and is {now[name]}" for name in now if then[name] != now[name]]
    if differences:
        raise TrainingError.unfit_checkpoint(found.path, "; ".join(differences))
    if (of_data := content.get(type(data).__qualname__)) is not None:
        data.load_state_dict(of_data)
    return found.path


def _result(trainer: pl.Trainer, module: TFTModule, *, seconds: float, interrupted: bool) -> FitResult:
    best = trainer.checkpoint_callback
    assert isinstance(best, ModelCheckpoint)
    path = Path(best.best_model_path) if best.best_model_path else None
    if path is not None and not path.is_file():  # a second Ctrl+C broke off its writing
        path = None
    network = module.network.cpu()
    if path is not None:
        state = load_checkpoint(path)["state_dict"]
        prefix = "network."
        load_weights(network, {name.removeprefix(prefix): tensor for name, tensor in state.items()}, path)
    (history,) = _callbacks(trainer, History)
    return FitResult(
        network=network.eval(),
        best_loss=None if best.best_model_score is None else float(best.best_model_score),
        checkpoint=path,
        history=history.rows,
        seconds=seconds,
        stopped_why="it was interrupted" if interrupted else _reason(trainer),
    )


def _reason(trainer: pl.Trainer) -> str:
    for limits in _callbacks(trainer, Limits):
        if limits.reached:
            return limits.reached
    for early in _callbacks(trainer, EarlyStopping):
        if early.wait_count >= early.patience:
            return f"{early.monitor} did not improve in {early.wait_count} epochs"
    return f"{trainer.max_epochs} epochs are done"


def _callbacks(trainer: pl.Trainer, kind: type[C]) -> list[C]:
    there: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a helper of Lightning's
    return [callback for callback in there if isinstance(callback, kind)]
