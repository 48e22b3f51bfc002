from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.helpers.training_fixtures import AfterSteps, Train

from fusecast.errors.training import TrainingInterrupted
from fusecast.training.callbacks.history import History
from fusecast.training.callbacks.progress import ProgressReport


def test_elsewhere_than_on_a_terminal_an_epoch_is_a_line(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    first, *epochs = err.splitlines()
    assert "parameters on cpu, precision 32-true, 4 batches an epoch" in first
    assert [line.split()[:4] for line in epochs] == [["epoch", "0", "step", "4"], ["epoch", "1", "step", "8"]]


def test_a_terminal_is_shown_a_bar(train: Train) -> None:
    history, written = History(), StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    train(callbacks=[ProgressReport(history, console)])
    assert "epoch 1" in written.getvalue()
    assert "━" in written.getvalue()


def test_nothing_is_printed_when_progress_is_off(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    assert capsys.readouterr() == ("", "")


def test_an_interruption_is_confirmed_where_there_are_weights_to_keep(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    message = "interrupted: the best weights so far are kept"
    train(progress=True, callbacks=[AfterSteps(6, interrupt)])
    assert message in capsys.readouterr().err
    with pytest.raises(TrainingInterrupted):
        train(folder=tmp_path / "other", progress=True, callbacks=[AfterSteps(2, interrupt)])
    assert message not in capsys.readouterr().err
