"""Runs killed by SIGKILL and resumed end with the weights of a run that nothing disturbed, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers import killed_training
from tests.helpers.killed_training import STEPS_AN_EPOCH, run
from tests.helpers.python_server import run_python
from tests.helpers.training_fixtures import same_weights

from fusecast.training.checkpoints import load_checkpoint
from fusecast.training.fit import FitResult

COMPARED = ("epoch", "step", "train_loss", "val_loss", "val_mae", "lr")


def kill(folder: Path, *when: object) -> str:
    """Kill runs at these moments, and return what they printed on stderr."""
    ran = run_python(killed_training.__file__, folder, *when)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stderr


def assert_equal_runs(resumed: FitResult, undisturbed: FitResult) -> None:
    assert resumed.stopped_why == undisturbed.stopped_why
    assert [[row[name] for name in COMPARED] for row in resumed.history] == [
        [row[name] for name in COMPARED] for row in undisturbed.history
    ]
    assert same_weights(resumed, undisturbed)
    ends = [load_checkpoint(result.checkpoint.parent / "last.ckpt")["state_dict"] for result in (undisturbed, resumed)]
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return run(tmp_path_factory.mktemp("whole") / "run", "never", resume=False)


def test_a_run_killed_at_random_steps_and_within_validation_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: FitResult
) -> None:
    folder = tmp_path / "run"
    assert len(undisturbed.history) >= 4
    assert len({row["lr"] for row in undisturbed.history}) > 1, "the test needs a run that adapts its learning rate"
    within = np.random.default_rng(0).integers(1, STEPS_AN_EPOCH, 3)
    first, second, third = (within + STEPS_AN_EPOCH * np.arange(3)).tolist()
    kill(folder, first, second, "validation", third)
    assert_equal_runs(run(folder, "never", resume=True), undisturbed)


def test_a_run_killed_before_its_first_checkpoint_begins_at_the_beginning_and_says_so(
    tmp_path: Path, undisturbed: FitResult, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    printed = kill(folder, 0, 1, 1)
    assert not (folder / "checkpoints").exists()
    resumed = run(folder, "never", resume=True)
    for text, times in ((printed, 2), (capsys.readouterr().err, 1)):
        assert text.count("checkpoints holds no checkpoint yet: training starts from the beginning\n") == times
    assert_equal_runs(resumed, undisturbed)


def test_a_killed_epoch_loses_no_more_than_the_steps_between_checkpoints(tmp_path: Path) -> None:
    kill(tmp_path / "run", STEPS_AN_EPOCH + 5)
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["global_step"] == STEPS_AN_EPOCH + 4
