"""A folder belongs to one run at a time, and a run to one table."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.training_fixtures import World

from fusecast.errors import ArtifactError, TrainingError
from fusecast.runtime.lock import lock_folder
from fusecast.training.fit import FitResult

Train = Callable[..., FitResult]


def test_a_folder_that_is_trained_into_is_refused_to_others_and_free_afterwards(train: Train, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "run"):
        for resume in (None, tmp_path / "run" / "checkpoints"):
            with pytest.raises(TrainingError, match=r"another run is training into folder .*run\nHint: wait"):
                train(resume=resume)
    assert train().checkpoint is not None
    with lock_folder(tmp_path / "run"):
        pass


def test_a_run_is_not_resumed_on_another_table_of_the_same_size(train: Train, world: World, tmp_path: Path) -> None:
    train(max_epochs=1)
    moved = replace(world.encoded, reals=world.encoded.reals + 1.0)
    started: list[str] = []
    with pytest.raises(TrainingError, match="the table is not the one that it began with"):
        train(encoded=moved, resume=tmp_path / "run" / "checkpoints", on_start=lambda: started.append("written"))
    assert started == []  # the run's own file still names its own table
    rounded = replace(world.encoded, reals=world.encoded.reals * (1 + 1e-6))
    assert len(train(encoded=rounded, resume=tmp_path / "run" / "checkpoints").history) == 2


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("[enforce fail] unexpected pos 64 vs 0")]
)
def test_a_checkpoint_that_cannot_be_written_is_said_in_words(
    error: Exception, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ArtifactError, match=r"ckpt cannot be written: .*\nHint: make room"):
        train()
