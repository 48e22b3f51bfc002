from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fusecast.cli.commands import fit
from fusecast.errors import ArtifactError, TrainingError

SCRIPT = Path(__file__).resolve().parents[1] / "helpers" / "killed_runs.py"


def test_a_run_killed_twice_and_resumed_is_the_run_that_nothing_disturbed(tmp_path: Path) -> None:
    steps = np.arange(200)
    noise = np.random.default_rng(0).normal(scale=0.2, size=200)
    pl.DataFrame({"ds": steps, "y": 5 + np.sin(steps / 3) + noise}).write_csv(tmp_path / "table.csv")
    command = [sys.executable, SCRIPT, tmp_path / "table.csv", tmp_path]
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for name in ("model.safetensors", "preprocessor.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    histories = [
        pl.read_csv(tmp_path / run / "history.csv").drop("seconds", "windows_per_second") for run in ("whole", "parts")
    ]
    assert histories[0].equals(histories[1])


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no run to resume\nHint: .*without --resume a new run begins"):
        fit.run_to_resume(tmp_path)


def test_a_run_in_the_way_is_said_to_be_resumable(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").touch()
    with pytest.raises(ArtifactError, match="go on with --resume"):
        fit.refuse_to_overwrite(tmp_path)
