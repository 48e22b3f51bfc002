"""Which checkpoint a run goes on from, and what is said about those it cannot."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.training.test_fit import same

from fusecast.errors import ArtifactError, TrainingError
from fusecast.training.checkpoints import intact_or_newest, newest_checkpoint
from fusecast.training.fit import FitResult

Train = Callable[..., FitResult]


def write(path: Path, saved: float) -> Path:
    torch.save({"saved": saved, "loops": {}, "state_dict": {"x": torch.zeros(500)}}, path)
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def test_the_newest_is_told_by_what_it_holds_not_by_the_files_date(tmp_path: Path) -> None:
    older, newer = write(tmp_path / "last.ckpt", 1.0), write(tmp_path / "previous.ckpt", 2.0)
    os.utime(older, (10, 10))
    os.utime(newer, (5, 5))
    assert newest_checkpoint(tmp_path).path == newer


def test_of_two_equally_new_the_last_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "tft-epoch=00.ckpt", 1.0)
    last = write(tmp_path / "last.ckpt", 1.0)
    assert newest_checkpoint(tmp_path).path == last


def test_a_truncated_file_is_passed_over_and_named(tmp_path: Path) -> None:
    before, last = write(tmp_path / "previous.ckpt", 1.0), write(tmp_path / "last.ckpt", 2.0)
    truncate(last)
    found = newest_checkpoint(tmp_path)
    assert found.path == before
    assert re.search(r"last\.ckpt cannot be read: .*Going on from .*previous\.ckpt", found.in_words())
    assert intact_or_newest(last).path == before


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path).path is None


def test_a_folder_with_nothing_but_truncated_files_is_an_error(tmp_path: Path) -> None:
    truncate(write(tmp_path / "last.ckpt", 2.0))
    with pytest.raises(TrainingError, match=r"no checkpoint in it can be read: .*last\.ckpt"):
        newest_checkpoint(tmp_path)


def test_an_unsafe_file_is_never_passed_over_when_it_was_asked_for(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    write(tmp_path / "previous.ckpt", 1.0)
    torch.save({"state_dict": Trap()}, tmp_path / "last.ckpt")
    with pytest.raises(ArtifactError, match=r"is refused: it holds (posix|nt)\.mkdir"):
        intact_or_newest(tmp_path / "last.ckpt")
    assert newest_checkpoint(tmp_path).path == tmp_path / "previous.ckpt"
    assert not (tmp_path / "sprung").exists()


def test_training_goes_on_from_the_checkpoint_before_a_truncated_one_and_says_so(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"early_stopping_patience": None, "checkpoint_steps": 3}
    whole = train(folder=tmp_path / "whole", max_epochs=3, **options)
    train(folder=tmp_path / "parts", max_epochs=2, **options)
    checkpoints = tmp_path / "parts" / "checkpoints"
    assert {"last.ckpt", "previous.ckpt"} <= {path.name for path in checkpoints.iterdir()}
    for path in checkpoints.glob("*"):
        if path.name != "previous.ckpt":
            truncate(path)
    resumed = train(folder=tmp_path / "parts", max_epochs=3, resume=checkpoints, **options)
    assert same(whole, resumed)
    said = capsys.readouterr().err
    assert "last.ckpt cannot be read" in said
    assert "Going on from" in said


def test_a_run_without_a_checkpoint_starts_anew_and_says_so(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    result = train(resume=tmp_path / "run" / "checkpoints", max_epochs=1)
    assert len(result.history) == 1
    assert "training starts from the beginning" in capsys.readouterr().err


def test_a_run_that_had_stopped_early_stays_stopped(train: Train, tmp_path: Path) -> None:
    options = {"max_epochs": 9, "early_stopping_patience": 1, "early_stopping_min_delta": 100.0}
    first = train(**options)
    assert len(first.history) == 2
    again = train(resume=tmp_path / "run" / "checkpoints", **options)
    assert [row["step"] for row in again.history] == [row["step"] for row in first.history]
    assert same(first, again)
