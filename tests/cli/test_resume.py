from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers import killed_runs
from tests.helpers.python_server import run_python
from typer.testing import CliRunner

from fusecast.cli.app import app
from fusecast.errors import ArtifactError, TrainingError
from fusecast.errors.training import TrainingInterrupted
from fusecast.forecaster import Forecaster


def test_a_run_killed_or_interrupted_and_resumed_is_the_run_that_nothing_disturbed(tmp_path: Path) -> None:
    steps = np.arange(200)
    noise = np.random.default_rng(0).normal(scale=0.2, size=200)
    pl.DataFrame({"ds": steps, "y": 5 + np.sin(steps / 3) + noise}).write_csv(tmp_path / "table.csv")
    ran = run_python(killed_runs.__file__, tmp_path / "table.csv", tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for resumed in ("killed", "interrupted"):
        for name in ("model.safetensors", "preprocessor.json"):
            assert (tmp_path / resumed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        histories = [
            pl.read_csv(tmp_path / run / "history.csv").drop("seconds", "windows_per_second")
            for run in ("whole", resumed)
        ]
        assert histories[0].equals(histories[1])
    assert "holds no checkpoint yet: training starts from the beginning" in ran.stderr
    assert "there is no model yet\nHint: continue with `fusecast fit --resume --out" in ran.stderr
    assert "terminated: the checkpoints so far are kept" in ran.stderr


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["fit", "--resume", "--out", str(tmp_path)])
    with pytest.raises(TrainingError, match=r"holds no run to resume\nHint: .*without --resume a new run begins"):
        raise ran.exception


def test_the_message_of_a_run_in_the_way_names_the_option_that_resumes_it(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").touch()
    ran = CliRunner().invoke(app, ["fit", "table.csv", "--horizon", "2", "--lookback", "5", "--out", str(tmp_path)])
    with pytest.raises(ArtifactError, match="--resume"):
        raise ran.exception


def test_ctrl_c_within_a_refit_ends_the_backtest_as_shells_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise TrainingInterrupted.within_refit(2)

    monkeypatch.setattr(Forecaster, "load", lambda _: SimpleNamespace(backtest=interrupt))
    ran = CliRunner().invoke(app, ["backtest", str(tmp_path), "--refit-every", "1"])
    assert ran.exit_code == 130
    assert "the backtest was interrupted while refit 2 was trained\nHint: " in ran.stderr
