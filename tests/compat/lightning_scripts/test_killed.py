"""The four modules, killed by SIGKILL and resumed, end with the weights of a run that nothing disturbed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers import killed_script_training
from tests.helpers.killed_script_training import EPOCHS, MetricsCallback, run

SCRIPT = Path(killed_script_training.__file__)


@pytest.mark.filterwarnings("ignore")  # the advice of Lightning to people who make Trainers
@pytest.mark.parametrize("layout", ["script", "trainer"])
def test_a_killed_run_ends_as_if_undisturbed(layout: str, tmp_path: Path) -> None:
    model, trainer = run(layout, tmp_path / "whole", "never")
    steps = trainer.fit_loop.epoch_loop.global_step
    history = next(each for each in trainer.callbacks if isinstance(each, MetricsCallback))
    assert len(set(history.history["lr"])) > 1, "the test needs a run that adapts its learning rate"

    assert trainer.current_epoch == EPOCHS
    within = np.random.default_rng(0).integers(1, steps // EPOCHS, 3)
    first, second, third = map(str, (within + steps // EPOCHS * np.arange(3)).tolist())
    moments = [first, second, "validation", third, "validation"]
    ran = subprocess.run(
        [sys.executable, SCRIPT, layout, tmp_path / "parts", *moments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    resumed, again = run(layout, tmp_path / "parts", "never")

    assert again.fit_loop.epoch_loop.global_step == steps, moments
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), (name, moments)
    other = next(each for each in again.callbacks if isinstance(each, MetricsCallback))
    assert other.history == history.history, moments
