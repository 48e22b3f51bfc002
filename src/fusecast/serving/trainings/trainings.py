"""Trainings: all that a server has started, by name; the model of each is served when it ends."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from fusecast.config import RunConfig
from fusecast.serving.errors import RequestError
from fusecast.serving.trainings.training import Training

if TYPE_CHECKING:
    import polars as pl

    from fusecast.serving.models import Models

LONGEST_NAME = 60


class TrainingOptions(BaseModel):
    """What a client chooses of a run: the roles of the columns of its table, sizes and time. No path is among it."""

    model_config = ConfigDict(extra="forbid")

    horizon: int
    lookback: int | None = None
    time_budget: str | None = None
    id: str | list[str] | None = None
    time: str
    target: str | list[str]
    static: list[str] = []
    known: list[str] = []
    observed: list[str] = []
    categorical: list[str] = []
    frequency: str | None = None

    def to_run(self) -> dict[str, Any]:
        """Return the same as options of a run."""
        values = self.model_dump()
        above = {name: values.pop(name) for name in ("horizon", "lookback", "time_budget")}
        return {**above, "table": values}


class Trainings:
    """The trainings of a server, one at a time, each in a folder of `folder`; `options` are those of every run."""

    def __init__(self, folder: Path, models: Models, options: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.models, self.options = models, options or {}
        self._trainings: dict[str, Training] = {}
        self._lock = threading.Lock()

    def start(self, file_name: str, table: pl.DataFrame, options: TrainingOptions) -> Training:
        """Start a training; ConfigError for impossible options, and a RequestError while another one runs."""
        config = RunConfig.parse(options.to_run(), self.options)
        with self._lock:
            if any(training.state == "running" for training in self._trainings.values()):
                raise RequestError(409, "training", "another training is running", "wait for its end, or stop it")
            name = self._choose_name(file_name)
            folder = self.folder / name
            folder.mkdir(parents=True)
            training = Training(name, folder, config, table, self._serve)
            self._trainings[name] = training
            return training

    def get(self, name: str) -> Training:
        """Return a training by its name; a RequestError where there is none."""
        if name not in self._trainings:
            raise RequestError(404, "unknown_training", f"there is no training {name!r}")
        return self._trainings[name]

    def describe(self) -> list[dict[str, Any]]:
        """Return how far each training is, the latest last."""
        return [training.describe() for training in list(self._trainings.values())]

    def close(self) -> None:
        """End what still runs."""
        for training in list(self._trainings.values()):
            training.close()

    def _serve(self, training: Training) -> None:
        assert training.model is not None
        self.models.add(training.name, training.model)

    def _choose_name(self, file_name: str) -> str:
        """Return a name after that of a file, which no other model or folder has."""
        stem = file_name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or file_name
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:LONGEST_NAME] or "table"
        taken = {*self.models.names(), *(path.name for path in self.folder.glob("*"))}
        number, name = 1, base
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        return name
