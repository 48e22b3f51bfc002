"""fit: train a network on the windows of a panel, and return it with its best weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.seed import isolate_rng

from fusecast.data.arrays import group_blocks, release
from fusecast.display.card import build_card
from fusecast.errors import TrainingError
from fusecast.errors.training import TrainingInterrupted
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.inference.model_bundle import load_weights
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.model.weights import initialize_weights
from fusecast.runtime.cpu import keep_freed_memory
from fusecast.runtime.distributed import is_first_process
from fusecast.runtime.lock import lock_folder
from fusecast.training.checkpoints import (
    RunFolder,
    choose_checkpoint,
    identify_run,
    load_training_state,
    require_same_network,
    require_types,
)
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.final import FollowPlan, LearningRates, StepPlan
from fusecast.training.lightning_module import TFTModule
from fusecast.training.trainer import RunFiles, TrainingRun, quiet_lightning
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from fusecast.config import TrainingConfig, WindowScaling

INTERRUPTED = "it was interrupted"


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """A trained network, and how its training went."""

    network: TemporalFusionTransformer  # with the best weights, on the CPU, in eval mode
    best_loss: float  # scaled validation loss of these weights (training loss of an epoch where nothing validates)
    checkpoint: Path  # that the weights are from
    history: list[dict[str, Any]]  # one row an epoch, columns as in History
    seconds: float  # of training
    stopped_why: str  # what ended training
    window_scaling: WindowScaling  # of the windows that it was trained on
    members: tuple[FitResult, ...] = ()
    """The result of each network of an ensemble. The fields above are then those of the first, but `best_loss`, the
    mean, and `seconds`, the time of all; empty where there is one network."""

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the training, so that the weights are the best of its first epochs."""
        return self.stopped_why == INTERRUPTED

    def __repr__(self) -> str:
        return (
            f"FitResult(best_loss={self.best_loss:.6g}, epochs={len(self.history)}, seconds={self.seconds:.0f}, "
            f"stopped_why={self.stopped_why!r}, checkpoint={self.checkpoint.name!r}"
            f"{f', members={len(self.members)}' if self.members else ''})"
        )

    def _repr_html_(self) -> str:
        facts = {
            "networks": max(1, len(self.members)),
            "validation loss": self.best_loss,
            "epochs": len(self.history),
            "time": f"{self.seconds:,.0f} s",
            "stopped": self.stopped_why,
        }
        return build_card("FitResult", facts)


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
    keeps_folder: bool = True,
    name: str = "",
    plan: StepPlan | None = None,
) -> FitResult:
    """Train a network, and return it with the weights that validated best; with a `plan`, with those of its last step.

    First everything that can be refused is refused, with a TrainingError: no training window, checkpoints of another
    run in `folder` or one that is training there, a checkpoint of another run, network or table. Then `on_start` is
    called once, in the first process, and may write what describes the run. Only then the seed is set, from which the
    first weights and all that is random follow, so that a resumed run and an undisturbed one draw the same numbers. The
    caller's random state is restored at the end.

    `train` and `valid` number windows of `encoded`. Without validation windows (None, or an index of length 0) the
    training loss of an epoch decides about the best weights, the learning rate and early stopping. ``checkpoints/``,
    ``logs/`` and ``history.csv`` are written into `folder`. `callbacks` and `logger` are Lightning's, see
    :class:`~fusecast.training.trainer.TrainingRun`; `resume` is a checkpoint of an earlier run of the same
    configuration, or a folder of them, see :func:`~fusecast.training.checkpoints.choose_checkpoint`. `name` precedes
    the line of each epoch.

    Ctrl+C ends training, and the result has the best weights so far; before those of a validated epoch were written it
    is a TrainingInterrupted. A terminated process (SIGTERM) exits with code 143: a half trained network is no result.
    Without `keeps_folder` the message does not speak of checkpoints that will be gone.
    """
    if len(train) == 0:
        raise TrainingError.no_windows()
    files = RunFiles.in_folder(folder, are_kept=keeps_folder)
    began = time.monotonic()
    keep_freed_memory()
    with lock_folder(folder) as lock, quiet_lightning(), isolate_rng():
        data = WindowDataModule(encoded, train=train, valid=valid, config=training_config)
        checkpoint = None
        if resume is not None:
            checkpoint = checkpoint_to_resume(resume, files, model_config, data)
        elif is_first_process():
            files.refuse_to_overwrite()
        run_folder = RunFolder(lock, identify_run(folder, checkpoint))
        if on_start is not None and is_first_process():
            on_start()
        pl.seed_everything(training_config.seed, workers=True, verbose=False)
        module = make_module(model_config, training_config)
        monitor = "val_loss" if data.validates else "train_loss"
        rates: list[pl.Callback] = [LearningRates()] if training_config.final != "none" else []
        run = TrainingRun(
            training_config,
            files,
            monitor=monitor if plan is None else None,
            callbacks=[*(rates if plan is None else [FollowPlan(plan)]), *callbacks],
            logger=logger,
            run_folder=run_folder,
            name=name,
        )
        try:
            interrupted = run.fit(module, datamodule=data, ckpt_path=checkpoint)
        finally:
            data.teardown("fit")  # which Lightning does not call where training breaks off
        lock.require_in_place()
    best, loss = run.best_checkpoint, run.best.best_model_score
    if plan is not None and run.history.rows:
        loss = run.history.rows[-1]["train_loss"]
    if best is None or loss is None:
        if not interrupted:
            raise TrainingError.no_best(folder)
        raise TrainingInterrupted.before_first_model(folder, run.trainer.global_step)
    network = module.network.cpu()
    load_weights(network, _read_tensors(best), best)
    return FitResult(
        network=network.eval(),
        best_loss=float(loss),
        checkpoint=best,
        history=run.history.rows,
        seconds=time.monotonic() - began,
        stopped_why=INTERRUPTED if interrupted else run.stop_reason,
        window_scaling=encoded.window_scaling,
    )


def load_network(model: ModelConfig, checkpoint: Path) -> TemporalFusionTransformer:
    """Return the network of a checkpoint, on the CPU, in eval mode."""
    tensors = _read_tensors(checkpoint)
    with torch.random.fork_rng(devices=[]):
        network = TemporalFusionTransformer(model)
    network.to(next((tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()), torch.float32))
    load_weights(network, tensors, checkpoint)
    return network.eval()


def _read_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the network in a checkpoint."""
    state = load_training_state(checkpoint)["state_dict"].items()
    return {name.removeprefix("network."): tensor for name, tensor in state if isinstance(tensor, torch.Tensor)}


def make_module(model: ModelConfig, config: TrainingConfig) -> TFTModule:
    """Return the network with what trains it; its first weights follow from torch's current seed."""
    module = TFTModule(
        model.to_dict(),
        learning_rate=config.rate,
        weight_decay=config.weight_decay,
        lr_scheduler_factor=config.lr_scheduler_factor,
        lr_scheduler_patience=config.lr_scheduler_patience,
        lr_schedule=config.lr_schedule,
        seed=config.seed,
    )
    if config.weight_init == "paper":
        initialize_weights(module.network)
    if config.compile:
        module.network.compile()
    return module


def settle_unknown_categories(network: TemporalFusionTransformer, encoded: EncodedPanel, train: WindowIndex) -> None:
    """Set the embedding of code 0 of each category to the mean of the others, where no training window held it.

    Without this, a new series or level would be represented by the random numbers that its row started from. Where
    values were missing in training, code 0 has been learned and stays.
    """
    trained = train.counts > 0  # [S]
    end = np.where(trained, train.last_cutoff + train.horizon, 0)  # rows of each series that windows of training hold
    held = np.zeros(encoded.categories.shape[1], dtype=np.bool_)  # code 0, of each category
    for part in group_blocks(encoded.indptr):
        begin, lengths = int(encoded.indptr[part.start]), np.diff(encoded.indptr)[part]
        row = np.arange(lengths.sum()) - np.repeat(encoded.indptr[:-1][part] - begin, lengths)
        codes = encoded.categories[begin : begin + len(row)]
        held |= (codes[row < np.repeat(end[part], lengths)] == 0).any(axis=0)
        release(encoded.categories)
    embeddings = [(network.embedding, held)]
    if network.static is not None:
        embeddings.append((network.static.embedding, (encoded.static_categories[trained] == 0).any(axis=0)))
    for embedding, is_learned in embeddings:
        with torch.no_grad():
            for table, learned in zip(embedding.table.split(embedding.cardinalities), is_learned, strict=True):
                if not learned and len(table) > 1:
                    table[0] = table[1:].mean(dim=0)


def checkpoint_to_resume(resume: Path, files: RunFiles, model: ModelConfig, data: WindowDataModule) -> Path | None:
    """Choose the checkpoint; refuse an unfit one before anything is written, not deep inside Lightning."""
    path = choose_checkpoint(resume, files.checkpoints)
    if path is None:
        return None
    content = load_training_state(path)
    defaults = {option.name: option.default for option in fields(ModelConfig)}  # for options that came later
    saved = content["hyper_parameters"]
    if not isinstance(saved.get("model"), dict):
        raise TrainingError.checkpoint_mismatch(path, "it holds another kind of network")
    options = {"lr_schedule": data.config.lr_schedule, "seed": data.config.seed}
    before = {"lr_schedule": "plateau", **defaults, **saved["model"], **{k: saved[k] for k in options if k in saved}}
    require_same_network(path, before, {**model.to_dict(), **options})
    state_of_data = content.get(type(data).__qualname__)
    if state_of_data is not None:
        require_types(path, data.state_dict(), state_of_data)
        data.load_state_dict(state_of_data)
    return path
