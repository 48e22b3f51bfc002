"""Ctrl+C ends training between two steps: with the best model so far, or with nothing but a state to resume from."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from tests.helpers.training_fixtures import AfterSteps, Train, same_weights

from fusecast.errors.training import TrainingInterrupted
from fusecast.training.checkpoints import AtomicCheckpointIO, load_checkpoint

STEPS_AN_EPOCH = 4
COMPARED = ("epoch", "step", "train_loss", "val_loss", "val_mae", "lr")


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    """Let Ctrl+C do what it does in a terminal; background jobs of a shell ignore it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class AtBatch(pl.Callback):
    """Press Ctrl+C at a hook of a batch: of training, before the step; of validation, before and after it."""

    def __init__(self, hook: str, batch: int, epoch: int, action: Callable[[], None] = press_ctrl_c) -> None:
        def press(trainer: pl.Trainer, *args: Any, **_: Any) -> None:
            if args[-1] == batch and trainer.current_epoch == epoch:
                action()

        setattr(self, hook, press)


def rows(result: Any) -> list[list[Any]]:
    return [[row[name] for name in COMPARED] for row in result.history]


def test_an_interrupted_run_keeps_the_best_so_far(train: Train) -> None:
    result = train(max_epochs=50, callbacks=[AfterSteps(10, press_ctrl_c)])
    assert result.stopped_why == "it was interrupted"
    assert len(result.history) == 2
    assert result.best_loss == pytest.approx(min(row["val_loss"] for row in result.history))


@pytest.mark.parametrize("step", [1, 3, STEPS_AN_EPOCH])
def test_a_run_interrupted_before_its_first_validation_is_no_model_and_is_resumed_exactly(
    train: Train, undisturbed: Train, tmp_path: Path, step: int
) -> None:
    whole = undisturbed(max_epochs=3)
    with pytest.raises(TrainingInterrupted, match=rf"after step {step}, .*no model yet\nHint: .*--resume --out .*run"):
        train(max_epochs=3, callbacks=[AfterSteps(step, press_ctrl_c)])
    checkpoints = tmp_path / "run" / "checkpoints"
    assert load_checkpoint(checkpoints / "last.ckpt")["global_step"] == step
    resumed = train(max_epochs=3, resume=checkpoints)
    assert rows(resumed) == rows(whole)
    assert same_weights(resumed, whole)


@pytest.mark.parametrize(
    ("hook", "batch", "epoch"),
    [
        ("on_train_batch_start", 0, 0),
        ("on_train_batch_start", 0, 1),
        ("on_train_batch_start", 2, 1),
        ("on_validation_batch_start", 0, 0),
        ("on_validation_batch_start", 1, 0),
        ("on_validation_batch_start", 1, 1),
        ("on_validation_batch_end", 0, 0),
    ],
)
def test_a_run_interrupted_anywhere_and_resumed_ends_as_if_undisturbed(
    train: Train, undisturbed: Train, tmp_path: Path, hook: str, batch: int, epoch: int
) -> None:
    options = {"max_epochs": 3, "learning_rate": 0.3, "lr_scheduler_patience": 0}
    whole = undisturbed(**options)
    interruption = [AtBatch(hook, batch, epoch)]
    if epoch == 0:
        with pytest.raises(TrainingInterrupted):
            train(callbacks=interruption, **options)
    else:
        first = train(callbacks=interruption, **options)
        assert first.stopped_why == "it was interrupted"
        assert len(first.history) == epoch
    resumed = train(resume=tmp_path / "run" / "checkpoints", **options)
    assert rows(resumed) == rows(whole)
    assert same_weights(resumed, whole)


def test_a_run_interrupted_again_and_again_ends_as_if_undisturbed(
    train: Train, undisturbed: Train, tmp_path: Path
) -> None:
    whole = undisturbed(max_epochs=2)
    checkpoints = tmp_path / "run" / "checkpoints"
    for step in (1, 2, 3, 4):
        with pytest.raises(TrainingInterrupted):
            train(resume=checkpoints, callbacks=[AfterSteps(step, press_ctrl_c)])
    resumed = train(resume=checkpoints)
    assert rows(resumed) == rows(whole)
    assert same_weights(resumed, whole)


@pytest.mark.parametrize("limit", [{"max_steps": 6}, {"max_minutes": 1e-9}])
def test_a_run_that_has_only_to_validate_finishes(train: Train, limit: dict[str, Any]) -> None:
    step = limit.get("max_steps", 1)
    result = train(max_epochs=50, callbacks=[AfterSteps(step, press_ctrl_c)], **limit)
    assert result.history[-1]["step"] == step
    assert result.stopped_why.endswith(("steps are done", "minutes are over"))


def test_ctrl_c_while_a_checkpoint_is_written_waits_until_it_is_whole(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = AtomicCheckpointIO.save_checkpoint

    def press_and_write(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Path, **rest: Any) -> None:
        if "epoch=00" in Path(path).name:
            press_ctrl_c()
        write(self, checkpoint, path, **rest)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", press_and_write)
    result = train(max_epochs=50)
    assert result.stopped_why == "it was interrupted"
    assert result.checkpoint.is_file()
    assert load_checkpoint(result.checkpoint.parent / "last.ckpt")["global_step"] == STEPS_AN_EPOCH
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_where_python_ignores_exceptions_is_not_lost(train: Train) -> None:
    class Pressed:
        def __del__(self) -> None:
            press_ctrl_c()

    result = train(max_epochs=50, callbacks=[AfterSteps(6, Pressed)])
    assert result.stopped_why == "it was interrupted"
    assert len(result.history) == 1


def test_a_second_ctrl_c_does_not_wait(train: Train, undisturbed: Train, tmp_path: Path) -> None:
    def press_twice() -> None:
        press_ctrl_c()
        press_ctrl_c()
        raise AssertionError

    assert train(max_epochs=50, callbacks=[AfterSteps(6, press_twice)]).stopped_why == "it was interrupted"
    with pytest.raises(TrainingInterrupted, match="after step 3"):
        train(folder=tmp_path / "other", callbacks=[AfterSteps(3, press_twice)])
    assert same_weights(train(folder=tmp_path / "other", resume=tmp_path / "other" / "checkpoints"), undisturbed())


def test_a_model_whose_writing_was_broken_off_is_no_model_and_the_run_can_be_resumed(
    train: Train, undisturbed: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Path, **_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(AtomicCheckpointIO, "save_checkpoint", interrupt)
        with pytest.raises(TrainingInterrupted, match="no model yet"):
            train()
    resumed = train(resume=tmp_path / "run" / "checkpoints")
    assert same_weights(resumed, undisturbed())


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "termination",
    [
        AfterSteps(1, terminate),
        AfterSteps(STEPS_AN_EPOCH, terminate),
        AfterSteps(6, terminate),
        AtBatch("on_validation_batch_start", 0, 0, terminate),
        AtBatch("on_validation_batch_start", 1, 1, terminate),
        AtBatch("on_validation_batch_end", 0, 0, terminate),
    ],
)
def test_a_terminated_run_is_no_success_has_a_checkpoint_of_its_last_step_and_can_be_resumed(
    train: Train, undisturbed: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], termination: pl.Callback
) -> None:
    whole = undisturbed()
    with pytest.raises(SystemExit) as left:
        train(callbacks=[termination])
    assert left.value.code == 128 + signal.SIGTERM
    assert "terminated: the checkpoints so far are kept, and training can be resumed" in capsys.readouterr().err
    resumed = train(resume=tmp_path / "run" / "checkpoints")
    assert rows(resumed) == rows(whole)
    assert same_weights(resumed, whole)


def test_sigterm_after_the_last_step_is_not_lost_and_ends_the_process_at_once_when_training_is_over(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    class AtEnd(pl.Callback):
        def on_train_end(self, *_: Any) -> None:
            terminate()

    with pytest.raises(SystemExit) as left:
        train(callbacks=[AtEnd()])
    assert left.value.code == 128 + signal.SIGTERM
    assert "terminated: the checkpoints so far are kept" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_terminated_run_whose_folder_is_temporary_says_that_nothing_is_kept(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        train(callbacks=[AfterSteps(STEPS_AN_EPOCH + 1, terminate)], keeps_folder=False)
    assert left.value.code == 128 + signal.SIGTERM
    assert "terminated: nothing of this training is kept" in capsys.readouterr().err


def test_the_handler_of_sigterm_of_a_program_is_called_and_put_back(train: Train) -> None:
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)

    try:
        signal.signal(signal.SIGTERM, note)
        with pytest.raises(SystemExit):
            train(callbacks=[AfterSteps(1, terminate)])
        assert signal.getsignal(signal.SIGTERM) is note
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert received == [signal.SIGTERM]


def test_a_program_that_exits_within_training_exits_with_its_own_code(train: Train) -> None:
    with pytest.raises(SystemExit) as left:
        train(callbacks=[AfterSteps(STEPS_AN_EPOCH + 1, lambda: sys.exit(3))])
    assert left.value.code == 3


def test_a_terminated_run_without_checkpoint_says_so_and_starts_from_the_beginning(
    train: Train, undisturbed: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = undisturbed(max_steps=1)
    with pytest.raises(SystemExit):
        train(max_steps=1, callbacks=[AtBatch("on_validation_batch_start", 0, 0, terminate)])
    assert "terminated before the first checkpoint: resumed training starts from the begi" in capsys.readouterr().err
    assert same_weights(train(max_steps=1, resume=tmp_path / "run" / "checkpoints"), whole)
