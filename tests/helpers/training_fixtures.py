"""A small world: two series of a noisy wave, encoded by the real preprocessor, and networks that fit it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import pytorch_lightning as lightning
import torch

from fusecast.config import FeatureConfig, TrainingConfig
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.preprocessor import FittedPreprocessor, Preprocessor
from fusecast.model.config import ModelConfig
from fusecast.training.fit import FitResult, fit
from fusecast.windows.window_index import WindowIndex

ROWS, TRAIN_END, LOOKBACK, HORIZON = 160, 120, 12, 4


Train = Callable[..., FitResult]
"""The fixture `train`."""


def same_weights(first: FitResult, second: FitResult) -> bool:
    """Whether two results have the same weights, bit for bit."""
    other = second.network.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in first.network.state_dict().items())


class AfterSteps(lightning.Callback):
    """Call a function after a number of steps."""

    def __init__(self, steps: int, action: Callable[[], Any]) -> None:
        self.steps, self.action = steps, action

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == self.steps:
            self.action()


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    panel: Panel
    preprocessor: FittedPreprocessor
    encoded: EncodedPanel
    train: WindowIndex
    valid: WindowIndex
    model: ModelConfig

    def with_target(self, row: int, value: float) -> World:
        reals = self.encoded.reals.copy()
        reals[row, 0] = value
        return replace(self, encoded=replace(self.encoded, reals=reals))


@pytest.fixture(scope="session")
def world() -> World:
    steps = np.arange(ROWS)
    noise = np.random.default_rng(0).normal(scale=0.05, size=(2, ROWS))
    table = pl.concat(
        pl.DataFrame(
            {
                "unique_id": [name] * ROWS,
                "ds": steps,
                "y": level + level * (np.sin(2 * np.pi * steps / 8) + noise[i]),
                "phase": (steps % 8).astype(np.float64),
            }
        )
        for i, (name, level) in enumerate({"a": 10.0, "b": 4000.0}.items())
    )
    schema = make_schema(table, id="unique_id", time="ds", targets=("y",), known=("phase",), frequency="1i")
    panel = build_panel(table, schema)
    preprocessor = Preprocessor(FeatureConfig(window_scaling="none")).fit(panel, np.full(2, TRAIN_END))
    sizes: dict[str, Any] = {"lookback": LOOKBACK, "horizon": HORIZON}
    return World(
        panel=panel,
        preprocessor=preprocessor,
        encoded=preprocessor.encode(panel),
        train=WindowIndex.between(lengths=panel.lengths, begin=0, end=TRAIN_END, **sizes),
        valid=WindowIndex.between(lengths=panel.lengths, begin=TRAIN_END, end=ROWS, **sizes),
        model=ModelConfig(**sizes, **preprocessor.inputs.sizes(), hidden_size=8, num_heads=2),
    )


def make_train(world: World, default_folder: Path) -> Train:
    """Return a function that fits a tiny network; it takes options of TrainingConfig and of fit() by name."""

    def run(**options: Any) -> FitResult:
        arguments = {
            "model_config": world.model,
            "encoded": world.encoded,
            "train": world.train,
            "valid": world.valid,
            "folder": default_folder,
        }
        for name in (*arguments, "resume", "callbacks", "logger", "on_start", "keeps_folder"):
            if name in options and not isinstance(options[name], str):  # the name of a logger belongs to the config
                arguments[name] = options.pop(name)
        settings = {
            "batch_size": 32,
            "max_epochs": 2,
            "windows_per_epoch": 128,
            "accelerator": "cpu",
            "logger": "none",
            "progress": False,
        }
        return fit(training_config=TrainingConfig(**{**settings, **options}), **arguments)

    return run


@pytest.fixture
def train(world: World, tmp_path: Path) -> Train:
    return make_train(world, tmp_path / "run")


@pytest.fixture(scope="session")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Return a function that fits as `train` does, in a folder of its own, and once only with the same options."""
    made: dict[tuple[tuple[str, Any], ...], FitResult] = {}

    def run(**options: Any) -> FitResult:
        key = tuple(sorted(options.items()))
        if key not in made:
            made[key] = make_train(world, tmp_path_factory.mktemp("undisturbed") / "run")(**options)
        return made[key]

    return run
