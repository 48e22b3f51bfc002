"""Driver: the measures that all libraries have in common; a library fills in how each of them is done with it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.protocol import (
    Enough,
    Question,
    Snapshots,
    Ticker,
    Values,
    endless,
    rates,
    repeat,
    snapshotting,
    ticking,
    timed_build,
)


class Driver(ABC):
    """One library. Heavy imports belong into :meth:`load`, whose time is measured."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.task = question.task
        self.ticker = Ticker(question.seconds)
        self.snapshots = Snapshots(question.every)

    # What a library fills in

    @abstractmethod
    def load(self) -> None:
        """Import what a script that trains and predicts has at its top."""

    @abstractmethod
    def read(self) -> Any:
        """Read the task's table into the kind of frame that the library likes best."""

    @abstractmethod
    def build(self, frame: Any) -> Any:
        """Make of a frame what the library's loaders draw windows from."""

    @abstractmethod
    def batches(self, data: Any) -> Iterable[tuple[Any, int]]:
        """Give the batches of an epoch as training gets them, each with its number of windows."""

    @abstractmethod
    def fit(self, data: Any) -> Any:
        """Train by the library's own loop for ``question.steps`` steps and give the model.

        Where that is 0 train without end, with :meth:`callbacks`: one of them leaves the loop when the time is over.
        """

    @abstractmethod
    def step(self, data: Any) -> Callable[[], int]:
        """Give a function that does one training step on one fixed batch."""

    @abstractmethod
    def prepare_prediction(self, data: Any) -> Callable[[], int]:
        """Give a function that forecasts the last windows of each series at stride 1, and says how many they were."""

    @abstractmethod
    def quantiles(self, model: Any, frame: Any) -> Any:
        """Forecast the task's cutoffs, series by series: an array [W, H, Q]."""

    def weights(self, trainer: Any, module: Any) -> Any:  # noqa: ARG002  ours asks the trainer
        """Give the weights that forecast, by name, from a trainer and its module."""
        return module.state_dict()

    def restore(self, model: Any, weights: Any) -> None:
        """Put weights into a trained model."""
        raise NotImplementedError(f"{type(self).__name__} cannot go back to earlier weights")

    # What is measured

    def importing(self) -> Values:
        """Seconds of importing."""
        began, cpu = time.perf_counter(), time.process_time()
        self.load()
        return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}

    def first_step(self) -> Values:
        """Seconds from the start of the process to the end of the first step, the table read and built in between."""
        self.ticker = Ticker(0, steps=1)
        self._train()
        return {"seconds": time.time() - self.question.asked_at, "cpu_seconds": time.process_time()}

    def building(self) -> Values:
        """Seconds and memory of building, from a frame that has been read."""
        self.load()
        frame = self.read()
        return timed_build(lambda: self.build(frame))

    def loading(self) -> Values:
        """Windows a second of the loader alone."""
        self.load()
        data = self.build(self.read())
        batches = endless(lambda: self.batches(data))
        return repeat(lambda: next(batches)[1], self.question.seconds)

    def training(self) -> Values:
        """Windows a second of the library's own training."""
        self._train()
        return self.ticker.rate(self.task.batch_size)

    def bare_step(self) -> Values:
        """Windows a second of training steps on a fixed batch."""
        self.load()
        return repeat(self.step(self.build(self.read())), self.question.seconds)

    def predicting(self) -> Values:
        """Windows a second of prediction at stride 1."""
        self.load()
        predict = self.prepare_prediction(self.build(self.read()))
        began, cpu = time.perf_counter(), time.process_time()
        windows = predict()
        return rates(windows, time.perf_counter() - began, time.process_time() - cpu)

    def forecasts(self) -> Values:
        """Train for some steps and write the forecasts of the task's cutoffs."""
        import numpy as np

        self.load()
        frame = self.read()
        began = time.perf_counter()
        model = self.fit(self.build(frame))
        trained = time.perf_counter()
        quantiles = np.asarray(self.quantiles(model, frame), dtype=np.float64)
        np.save(self.question.forecasts, quantiles)
        return {"training_s": trained - began, "predicting_s": time.perf_counter() - trained}

    def quality(self) -> dict[str, list[float]]:
        """Train for some steps, and write the forecasts of the task's cutoffs after every so many: [C, W, H, Q].

        The forecasts are made when training is over. Times are those of training alone, from its begin.
        """
        import numpy as np

        self.load()
        frame = self.read()
        data = self.build(frame)
        self.snapshots = taken = Snapshots(self.question.every)
        model = self.fit(data)
        forecasts = []
        for weights in taken.weights:
            self.restore(model, weights)
            forecasts.append(np.asarray(self.quantiles(model, frame), dtype=np.float64))
        np.save(self.question.forecasts, np.stack(forecasts))
        return {"steps": list(map(float, taken.steps)), "wall_s": taken.wall, "cpu_s": taken.cpu}

    def callbacks(self, lightning: Any) -> list[Any]:
        """What the trainer of a Lightning package has to call after each step: nothing where the steps are given."""
        if self.question.every:
            return [snapshotting(lightning.Callback, self.snapshots, self.weights)]
        return [] if self.question.steps else [ticking(lightning.Callback, self.ticker)]

    def _train(self) -> None:
        self.load()
        try:
            self.fit(self.build(self.read()))
        except Enough:
            return

    def seed(self) -> None:
        """Seed torch, NumPy and Python."""
        import random

        import numpy as np
        import torch

        random.seed(self.question.seed)
        np.random.seed(self.question.seed)  # noqa: NPY002  the libraries draw from it
        torch.manual_seed(self.question.seed)

    def windows_a_series(self, num_series: int) -> int:
        """Windows to predict of each series."""
        return max(1, self.question.windows // num_series)
