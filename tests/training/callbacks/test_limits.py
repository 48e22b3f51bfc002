from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers.training_fixtures import Train, same_weights


@pytest.mark.parametrize("limit", [{"max_steps": 6}, {"max_minutes": 1e-9}])
def test_a_limit_ends_training_with_a_validated_epoch(train: Train, limit: dict[str, Any]) -> None:
    result = train(max_epochs=50, **limit)
    assert result.history[-1]["step"] == (6 if "max_steps" in limit else 1)
    assert result.history[-1]["val_loss"] is not None
    assert result.stopped_why.endswith(("6 steps are done", "minutes are over"))


def test_a_run_that_has_done_its_steps_does_no_more_of_them_when_it_is_resumed(train: Train, tmp_path: Path) -> None:
    first = train(max_steps=6, max_epochs=10)
    again = train(max_steps=6, max_epochs=10, resume=tmp_path / "run" / "checkpoints")
    assert again.stopped_why == first.stopped_why == "6 steps are done"
    assert [row["step"] for row in again.history] == [row["step"] for row in first.history]
    assert same_weights(first, again)


def test_minutes_count_on_through_a_resumed_run(train: Train, tmp_path: Path) -> None:
    train(max_epochs=1)
    again = train(max_epochs=50, max_minutes=1e-5, resume=tmp_path / "run" / "checkpoints")
    assert again.stopped_why.endswith("minutes are over")
    assert len(again.history) == 2
