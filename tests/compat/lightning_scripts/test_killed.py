"""The four modules, killed by SIGKILL and resumed, end with the weights of an undisturbed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tests.helpers import killed_script_training
from tests.helpers.killed_script_training import EPOCHS, MetricsCallback, run
from tests.helpers.python_server import run_python


def find_history(trainer: pl.Trainer) -> dict[str, list[Any]]:
    return next(callback.history for callback in trainer.callbacks if isinstance(callback, MetricsCallback))


@pytest.mark.filterwarnings("ignore")  # advice of Lightning on trainers
@pytest.mark.parametrize("layout", ["script", "trainer"])
def test_a_killed_run_ends_as_if_undisturbed(layout: str, tmp_path: Path) -> None:
    model, trainer = run(layout, tmp_path / "whole", "never")
    steps = trainer.fit_loop.epoch_loop.global_step
    history = find_history(trainer)
    assert len(set(history["lr"])) > 1, "the test needs a run that adapts its learning rate"

    assert trainer.current_epoch == EPOCHS
    within = np.random.default_rng(2).integers(2, steps // EPOCHS, 2)
    first, second = map(str, (within + steps // EPOCHS * np.arange(2)).tolist())
    moments = ["1", first, "validation", second]  # in step 1 there is no checkpoint yet
    ran = run_python(killed_script_training.__file__, layout, tmp_path / "parts", *moments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    resumed, again = run(layout, tmp_path / "parts", "never")

    assert again.fit_loop.epoch_loop.global_step == steps, moments
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), (name, moments)
    assert find_history(again) == history, moments
