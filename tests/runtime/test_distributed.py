"""DDP on two CPU processes: what each sees, what they learn, what they predict, and how they are ended by signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers import two_processes
from tests.helpers.killed_training import TRAIN
from tests.helpers.python_server import run_python

from fusecast.training.checkpoints import load_checkpoint

SCRIPT = Path(two_processes.__file__)
Outcome = dict[str, Any]
STEPS_AN_EPOCH = -(-len(TRAIN) // two_processes.GLOBAL_BATCH)


def run_script(folder: Path, *words: Any) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    return run_python(*words, cwd=folder, env=env)


def outcomes(folder: Path) -> list[Outcome]:
    return [json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    folder = tmp_path_factory.mktemp("two")
    ran = run_script(folder, SCRIPT, folder, "compare")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return outcomes(folder)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("one")
    code = (
        f"import sys, json; sys.path.insert(0, {str(SCRIPT.parent)!r}); from pathlib import Path\n"
        f"import two_processes; folder = Path({str(folder)!r})\n"
        f"(folder / 'one.json').write_text(json.dumps(two_processes.compare(folder, devices=1)))"
    )
    ran = run_script(folder, "-c", code)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcome: Outcome = json.loads((folder / "one.json").read_text(encoding="utf-8"))
    return outcome


def test_no_window_is_seen_twice_in_an_epoch_and_each_process_sees_half(two: list[Outcome]) -> None:
    windows = two[0]["windows"]
    for first, second in zip(two[0]["seen"], two[1]["seen"], strict=True):
        assert len(first) == len(second) == windows // 2
        assert sorted(first + second) == list(range(windows))


def test_the_loss_is_that_of_one_process_at_the_same_global_batch(one: Outcome, two: list[Outcome]) -> None:
    for outcome in two:
        for losses in ("train", "valid"):
            np.testing.assert_allclose(outcome[losses], one[losses], rtol=0, atol=1e-5)
        for name, value in one["tested"].items():
            assert outcome["tested"][name] == pytest.approx(value, abs=1e-5)


def test_both_processes_get_every_forecast_once_and_in_order(one: Outcome, two: list[Outcome]) -> None:
    for outcome in two:
        assert outcome["actuals"] == one["actuals"]
        assert np.shape(outcome["predictions"]) == np.shape(one["predictions"])
        np.testing.assert_allclose(outcome["predictions"], one["predictions"], rtol=0, atol=1e-4)


def test_both_processes_standardise_with_the_sampled_statistics_of_the_first(two: list[Outcome]) -> None:
    assert two[0]["statistics"] == two[1]["statistics"]
    np.testing.assert_allclose(two[0]["statistics"], two[0]["own_statistics"], rtol=0, atol=1e-5)
    assert not np.allclose(two[0]["own_statistics"], two[1]["own_statistics"], rtol=0, atol=1e-3)


def test_sigterm_or_ctrl_c_in_one_process_ends_both_after_the_same_step_and_the_run_is_resumed_exactly(
    two: list[Outcome], tmp_path: Path
) -> None:
    ran = run_script(tmp_path, SCRIPT, tmp_path, "terminate")
    assert ran.returncode == 128 + signal.SIGTERM, ran.stdout + ran.stderr
    assert ran.stderr.count("terminated: the checkpoints so far are kept, and training can be resumed") == 1
    assert "Traceback" not in ran.stderr
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == STEPS_AN_EPOCH
    ran = run_script(tmp_path, SCRIPT, tmp_path, "interrupt")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for outcome in outcomes(tmp_path):
        assert (outcome["stopped_why"], len(outcome["valid"])) == ("it was interrupted", 1)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 10
    ran = run_script(tmp_path, SCRIPT, tmp_path, "resume")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert outcomes(tmp_path)[0]["weights"] == two[0]["weights"]
