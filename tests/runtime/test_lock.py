"""A folder belongs to one run at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.training_fixtures import Train

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
