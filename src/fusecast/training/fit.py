"""fit: train a network on the windows of a panel, and return it with its best weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.seed import isolate_rng

from fusecast.errors import TrainingError
from fusecast.errors.training import TrainingInterrupted
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.inference.model_bundle import load_weights
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.model.weights import initialize_weights
from fusecast.runtime.distributed import is_first_process
from fusecast.runtime.lock import lock_folder
from fusecast.runtime.memory import keep_freed_memory
from fusecast.training.checkpoints import choose_checkpoint, load_checkpoint, load_training_state, require_same_network
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.lightning_module import TFTModule
from fusecast.training.trainer import RunFiles, TrainingRun, quiet_lightning
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from fusecast.config import TrainingConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """A trained network, and how its training went."""

    network: TemporalFusionTransformer  # with the best weights, on the CPU, in eval mode
    best_loss: float  # scaled validation loss of these weights (training loss where nothing validates)
    checkpoint: Path  # that the weights are from
    history: list[dict[str, Any]]  # one row an epoch, columns as in History
    seconds: float
    stopped_why: str

    def __repr__(self) -> str:
        return (
            f"FitResult(best_loss={self.best_loss:.6g}, epochs={len(self.history)}, seconds={self.seconds:.0f}, "
            f"stopped_why={self.stopped_why!r}, checkpoint={self.checkpoint.name!r})"
        )


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
    logger: Logger | Sequence[Logger] | None = None,
    on_start: Callable[[], None] | None = None,
) -> FitResult:
    """Train a network, and return it with the weights that validated best.

    First everything that can be refused is refused: no windows, a folder in use, an unfit checkpoint. Then `on_start`
    may write what describes the run. Only then the seed is set, from which the first weights and all that is random
    follow, so that a resumed run and an undisturbed one draw the same numbers. The caller's random state is restored
    at the end.

    Parameters
    ----------
    model_config, training_config
        Shape of the network, and how it is trained.
    encoded
        The panel whose windows `train` and `valid` number.
    train, valid
        Windows to train on and to validate with. Without validation windows (None, or an index of length 0) the
        training loss of an epoch decides about the best weights, the learning rate and early stopping.
    folder
        Where ``checkpoints/``, ``logs/`` and ``history.csv`` are written.
    resume
        A checkpoint of an earlier run of the same configuration to continue from; where it is truncated, the newest
        intact one beside it, which is printed on stderr. A folder stands for its newest intact checkpoint, and for a
        start from the beginning where it holds none; ``folder/checkpoints`` need not exist.
    callbacks
        More callbacks of Lightning; :class:`~fusecast.training.trainer.TrainingRun` has the order of all.
    logger
        One or several loggers of Lightning in place of that of the configuration.
    on_start
        Called once, in the first process, when everything has been checked and before anything is written.

    Raises
    ------
    TrainingError
        If there is no window, if `folder` holds checkpoints of another run or one is training there, if the
        checkpoint to resume from belongs to another network or another table, or if a loss is not finite.
    ConfigError
        If the requested accelerator is absent, or the library of the logger is not installed.
    ArtifactError
        If the checkpoint to resume from is missing, truncated or unsafe.
    TrainingInterrupted
        A KeyboardInterrupt: where Ctrl+C came before the weights of a validated epoch were written. Later on it ends
        training, and the result has the best weights so far.
    SystemExit
        With code 143 where the process was terminated (SIGTERM): a half trained network is no result.
    """
    if len(train) == 0:
        raise TrainingError.no_windows()
    files = RunFiles.in_folder(folder)
    began = time.monotonic()
    keep_freed_memory()
    with lock_folder(folder), quiet_lightning(), isolate_rng():
        data = WindowDataModule(encoded, train=train, valid=valid, config=training_config)
        checkpoint = None
        if resume is not None:
            checkpoint = _checkpoint_to_resume(resume, files, model_config, data)
        elif is_first_process():
            files.refuse_to_overwrite()
        if on_start is not None and is_first_process():
            on_start()
        pl.seed_everything(training_config.seed, workers=True, verbose=False)
        module = make_module(model_config, training_config)
        run = TrainingRun(
            training_config,
            files,
            monitor="val_loss" if data.validates else "train_loss",
            callbacks=callbacks,
            logger=logger,
        )
        try:
            interrupted = run.fit(module, datamodule=data, ckpt_path=checkpoint)
        finally:
            data.teardown("fit")  # which Lightning does not call where training breaks off
    best, loss = run.best_checkpoint, run.best_loss
    if best is None or loss is None:
        raise TrainingInterrupted.before_first_model(folder, run.trainer.global_step)
    return FitResult(
        network=_load_network(module, best),
        best_loss=loss,
        checkpoint=best,
        history=run.history.rows,
        seconds=time.monotonic() - began,
        stopped_why="it was interrupted" if interrupted else run.stop_reason,
    )


def make_module(model: ModelConfig, config: TrainingConfig) -> TFTModule:
    """Return the network with what trains it; its first weights follow from torch's current seed."""
    module = TFTModule(
        model.to_dict(),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_factor=config.lr_scheduler_factor,
        lr_scheduler_patience=config.lr_scheduler_patience,
        seed=config.seed,
    )
    if config.weight_init == "paper":
        initialize_weights(module.network)
    if config.compile:
        module.network.compile()
    return module


def _checkpoint_to_resume(resume: Path, files: RunFiles, model: ModelConfig, data: WindowDataModule) -> Path | None:
    """Choose the checkpoint; refuse an unfit one before anything is written, not deep inside Lightning."""
    path = choose_checkpoint(resume, files.checkpoints)
    if path is None:
        return None
    content = load_training_state(path)
    defaults = {option.name: option.default for option in fields(ModelConfig)}  # for options that came later
    require_same_network(path, {**defaults, **content["hyper_parameters"]["model"]}, model.to_dict())
    state_of_data = content.get(type(data).__qualname__)
    if state_of_data is not None:
        data.load_state_dict(state_of_data)
    return path


def _load_network(module: TFTModule, checkpoint: Path) -> TemporalFusionTransformer:
    """Return the network of a module with the weights of a checkpoint, on the CPU, in eval mode."""
    network = module.network.cpu()
    prefix = "network."
    state = load_checkpoint(checkpoint)["state_dict"]
    load_weights(network, {name.removeprefix(prefix): tensor for name, tensor in state.items()}, checkpoint)
    return network.eval()
