"""A folder belongs to one run at a time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.python_server import run_python
from tests.helpers.training_fixtures import AfterSteps, Train, same_weights

from fusecast.errors import TrainingError
from fusecast.runtime.lock import lock_folder


def test_a_folder_that_is_trained_into_is_refused_to_others_and_free_afterwards(train: Train, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "run"):
        for resume in (None, tmp_path / "run" / "checkpoints"):
            with pytest.raises(TrainingError, match=r"another process is training into folder .*run\nHint: wait"):
                train(resume=resume)
    assert train().checkpoint is not None
    with lock_folder(tmp_path / "run"):
        pass


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("removed_at", "logger"), [(2, "none"), (5, "csv"), (5, "tensorboard")])
def test_a_folder_removed_under_a_training_ends_it_and_is_not_made_anew(
    train: Train, tmp_path: Path, removed_at: int, logger: str
) -> None:
    run = tmp_path / "run"
    with pytest.raises(
        TrainingError, match=r"run was moved, removed or replaced while a training wrote into it.*\nHint"
    ):
        train(max_epochs=3, logger=logger, callbacks=[AfterSteps(removed_at, lambda: shutil.rmtree(run))])
    assert not run.exists()


def test_a_folder_removed_while_a_checkpoint_is_written_is_said_to_be_so(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, save = tmp_path / "run", torch.save

    def remove_and_save(content: object, path: Path) -> None:
        shutil.rmtree(run)
        save(content, path)

    monkeypatch.setattr(torch, "save", remove_and_save)
    with pytest.raises(TrainingError, match="was moved, removed or replaced"):
        train(max_epochs=1)
    assert not run.exists()


def test_a_moved_run_ends_and_is_resumed_where_it_is(train: Train, undisturbed: Train, tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    whole = undisturbed(max_epochs=3)
    with pytest.raises(TrainingError, match="was moved, removed or replaced"):
        train(max_epochs=3, callbacks=[AfterSteps(6, lambda: run.rename(moved))])
    assert not run.exists()
    assert same_weights(train(folder=moved, resume=moved / "checkpoints", max_epochs=3), whole)


STOPPING = """
import os, signal, sys
import pytorch_lightning as pl
from fusecast.cli.app import main
from fusecast.forecaster import Forecaster

class Stop(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 25:
            os.kill(os.getpid(), signal.SIGSTOP)

fit = Forecaster.fit
Forecaster.fit = lambda *positional, **named: fit(*positional, callbacks=[Stop()], **named)
main()
"""


def test_a_run_whose_folder_was_removed_leaves_the_next_run_there_alone(tmp_path: Path) -> None:
    steps = np.arange(120)
    pl.DataFrame({"ds": steps, "y": 5 + np.sin(steps / 3)}).write_csv(tmp_path / "table.csv")
    run = tmp_path / "run"
    options = ["--horizon", "2", "--lookback", "4", "--hidden-size", "4", "--num-heads", "1", "--batch-size", "8"]
    words = [tmp_path / "table.csv", "--out", run, *options, "--members", "1", "--final", "none", "--max-epochs"]

    command = [*map(str, (sys.executable, "-c", STOPPING, "fit", *words, 6))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])
        shutil.rmtree(run)
        assert run_python("-m", "fusecast", "fit", *words, 1).returncode == 0
        before = content(run)
        os.kill(first.pid, signal.SIGCONT)
        printed = first.communicate()[1]
    assert first.returncode == 2, printed
    assert "was moved, removed or replaced while a training wrote into it" in printed
    assert "Traceback" not in printed
    assert content(run) == before
