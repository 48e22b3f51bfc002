"""Ensemble: what the members of a run have in common, and where each of them is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor

from fusecast.errors import ArtifactError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.io.atomic import write_text_atomically
from fusecast.io.documents import parse_json, read_bytes, take
from fusecast.model.config import ModelConfig
from fusecast.runtime.distributed import is_first_process
from fusecast.training.checkpoints import identify_run
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.final import StepPlan
from fusecast.training.fit import FitResult, checkpoint_to_resume, fit, load_network
from fusecast.training.trainer import RunFiles
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from fusecast.config import TrainingConfig, WindowScaling

MEMBERS = "members"
"""Folder in that of a run, with a folder of each member but the first: ``2``, ``3``, ..."""
THREADS = "threads.json"
"""File in it with the threads that each member has: the bits of its weights depend on their number."""
FINISHED = "finished.json"
"""File in the folder of a member whose training is done, with the result; a run of one network has none."""
NOT_DECISIVE = ("members", "logger", "progress", "final")
"""Options of training that may change when a member that is done is taken over."""


SHORTEST_MINUTES = 1e-6
"""Minutes of a training where no time is left: one step is taken."""


def minutes_until(deadline: float) -> float:
    """Return the minutes until a Unix time; where it is over, so few that one step is taken."""
    return max((deadline - time.time()) / 60.0, SHORTEST_MINUTES)


def member_folder(folder: Path, number: int) -> Path:
    """Return the folder of a member, counted from 0, of the run in a folder."""
    return folder if number == 0 else folder / MEMBERS / str(number + 1)


class LoadInitialWeights(pl.Callback):
    """Begin training with given weights; a resumed one has its own."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the weights into the network."""
        if trainer.ckpt_path is None:
            pl_module.network.load_state_dict(dict(self.weights))  # type: ignore[union-attr]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """What all members have in common."""

    model_config: ModelConfig
    training_config: TrainingConfig
    encoded: EncodedPanel
    train: WindowIndex
    valid: WindowIndex | None
    folder: Path  # of the run
    resume: bool
    scalings: tuple[WindowScaling, ...] = ()  # window scaling of each member; empty for that of the panel
    keeps_folder: bool = True  # whether the folder stays when training is over
    plans: tuple[StepPlan, ...] = ()  # of each member, where they are final networks
    turns: int = 1  # in which the members train, and among which `max_minutes` is shared out
    deadline: float | None = None  # Unix time at which all have to end

    def __repr__(self) -> str:
        return f"Ensemble(members={self.training_config.members}, folder={str(self.folder)!r})"

    def folder_of(self, number: int) -> Path:
        """Return the folder of a member, counted from 0."""
        return member_folder(self.folder, number)

    def config_of(self, number: int) -> TrainingConfig:
        """Return the options of one member."""
        config = self.training_config.of_member(number)
        return self.plans[number].apply(config) if self.plans else config

    def minutes_of(self, number: int) -> float | None:
        """Return the minutes that a member has which is about to begin; None where there is no limit."""
        limit, remaining_turns = self.training_config.max_minutes, self.turns
        shares = [] if limit is None else [limit / self.turns]
        if self.deadline is not None:
            remaining_turns -= number * self.turns // self.training_config.members
            shares.append(minutes_until(self.deadline) / remaining_turns)
        return min(shares, default=None)

    def fit(self, number: int, *, on_start: Callable[[], None] | None = None, **options: Any) -> FitResult:
        """Train one member, and write down its result when it is done; `options` are more arguments of `fit`."""
        folder, config = self.folder_of(number), self.config_of(number)
        config = config.model_copy(update={"max_minutes": self.minutes_of(number)})

        def begin() -> None:
            (folder / FINISHED).unlink(missing_ok=True)
            if on_start is not None:
                on_start()

        result = fit(
            model_config=self.model_config,
            training_config=config,
            encoded=replace(self.encoded, window_scaling=self.scalings[number]) if self.scalings else self.encoded,
            train=self.train,
            valid=self.valid,
            folder=folder,
            resume=RunFiles.in_folder(folder).checkpoints if self.resume else None,
            on_start=begin,
            keeps_folder=self.keeps_folder,
            plan=self.plans[number] if self.plans else None,
            **options,
        )
        if not result.interrupted and is_first_process():
            values = {"options": self._decisive(number), **result_to_values(result)}
            write_text_atomically(folder / FINISHED, json.dumps(values))
        return result

    def load_finished(self, number: int) -> FitResult | None:
        """Return the result of a member of a resumed run that is done; None where there is something left to train.

        A TrainingError is raised as for training that is resumed, where it was that of another table or network.
        """
        folder = self.folder_of(number)
        try:
            values = parse_json(read_bytes(folder / FINISHED))
            if not self.resume or take(values, "options", dict) != self._decisive(number):
                return None
            files = RunFiles.in_folder(folder)
            if not (files.checkpoints / take(values, "checkpoint", str)).is_file():
                return None
            config = self.config_of(number)
            data = WindowDataModule(self.encoded, train=self.train, valid=self.valid, config=config)
            identify_run(folder, checkpoint_to_resume(files.checkpoints, files, self.model_config, data))
            return result_from_values(values, folder, self.model_config)
        except (
            OSError,
            ValueError,
            ArtifactError,
        ):  # it is not there, or damaged: the member is resumed from its checkpoints
            return None

    def _decisive(self, number: int) -> dict[str, Any]:
        options = self.config_of(number).to_dict()
        scaling = self.scalings[number] if self.scalings else self.encoded.window_scaling
        decisive = {name: value for name, value in options.items() if name not in NOT_DECISIVE}
        return {**decisive, "window_scaling": scaling}


def result_to_values(result: FitResult) -> dict[str, Any]:
    """Return a result without its network, which is in the checkpoint, as plain values."""
    names = ("best_loss", "history", "seconds", "stopped_why", "window_scaling")
    return {"checkpoint": result.checkpoint.name, **{name: getattr(result, name) for name in names}}


def result_from_values(values: dict[str, Any], folder: Path, model_config: ModelConfig) -> FitResult:
    """Return the result of a member with this folder; raise a ValueError where a value is of another type."""
    checkpoint = RunFiles.in_folder(folder).checkpoints / take(values, "checkpoint", str)
    window_scaling: Any = take(values, "window_scaling", str)
    return FitResult(
        network=load_network(model_config, checkpoint),
        best_loss=take(values, "best_loss", float),
        checkpoint=checkpoint,
        history=take(values, "history", list, items=dict),
        seconds=take(values, "seconds", float),
        stopped_why=take(values, "stopped_why", str),
        window_scaling=window_scaling,
    )


def read_threads(folder: Path) -> int | None:
    """Return the threads of each member of the run in a folder; None where none are written down."""
    path = folder / MEMBERS / THREADS
    if not path.exists():
        return None
    try:
        threads = take(parse_json(read_bytes(path)), "threads", int)
        if threads < 1:
            raise ValueError(f"it has {threads} threads")
    except (OSError, ValueError) as error:
        raise ArtifactError.unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    return threads
