from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
import pytorch_lightning as pl
from rich.console import Console

from fusecast.training.callbacks.history import History
from fusecast.training.callbacks.progress import ProgressReport
from fusecast.training.fit import FitResult

Train = Callable[..., FitResult]


class Stop(pl.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        raise KeyboardInterrupt


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


def test_nothing_is_said_when_progress_is_off(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    assert capsys.readouterr() == ("", "")


def test_an_interruption_is_confirmed(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train(progress=True, callbacks=[Stop()])
    assert "interrupted: the best weights so far are kept" in capsys.readouterr().err
