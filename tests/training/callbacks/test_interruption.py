from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from fusecast.training.checkpoints import AtomicCheckpointIO
from fusecast.training.fit import FitResult

Train = Callable[..., FitResult]


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    """Have Ctrl+C do what it does in a terminal; a shell's background jobs ignore it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


class After(pl.Callback):
    """Does something after so many steps."""

    def __init__(self, steps: int, action: Callable[[], Any]) -> None:
        self.steps, self.action = steps, action

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.steps:
            self.action()


def test_ctrl_c_while_a_checkpoint_is_written_waits_for_the_next_step(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = AtomicCheckpointIO.save_checkpoint

    def press_and_write(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Path, **rest: Any) -> None:
        if "epoch=00" in Path(path).name:
            os.kill(os.getpid(), signal.SIGINT)
        write(self, checkpoint, path, **rest)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", press_and_write)
    result = train(max_epochs=50)
    assert result.stopped_why == "it was interrupted"
    assert result.checkpoint is not None
    assert result.checkpoint.is_file()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_where_python_ignores_exceptions_is_not_lost(train: Train) -> None:
    class Pressed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    result = train(max_epochs=50, callbacks=[After(3, Pressed)])
    assert result.stopped_why == "it was interrupted"


def test_a_second_ctrl_c_is_not_put_off(train: Train) -> None:
    def press_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError

    assert train(max_epochs=50, callbacks=[After(3, press_twice)]).stopped_why == "it was interrupted"


def test_a_run_told_to_terminate_is_no_success_and_can_be_resumed(train: Train, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        train(callbacks=[After(6, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert left.value.code == 128 + signal.SIGTERM
    assert len(train(resume=tmp_path / "run" / "checkpoints").history) == 2
