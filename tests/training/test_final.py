"""The plan of a final training: its steps and learning rates, from what a judged one has recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.killed_members import fit_ensemble
from tests.helpers.training_fixtures import Train, same_weights

from fusecast.config import TrainingConfig
from fusecast.errors import TrainingError
from fusecast.training import checkpoints
from fusecast.training.final import StepPlan, plan_final, read_changes
from fusecast.training.members import fit as members_fit

PLANS = tuple(StepPlan(steps=steps, rates=((0, 0.1), (2, 0.01)), seed=seed) for steps, seed in ((4, 42), (3, 50)))


def test_the_rate_of_a_step_is_the_latest_change() -> None:
    plan = StepPlan(steps=5, rates=((0, 0.1), (2, 0.01), (4, 0.2)), seed=7)
    assert [plan.rate(step) for step in range(6)] == [0.1, 0.1, 0.01, 0.01, 0.2, 0.2]
    assert StepPlan.from_dict(plan.to_dict()) == plan
    config = plan.apply(TrainingConfig(seed=3, members=2, lr_schedule="cosine"))
    assert (config.seed, config.max_steps, config.members) == (7, 5, 1)


@pytest.mark.parametrize("damage", ["none", "no record", "a record of the later changes"])
def test_rates_that_were_not_recorded_are_those_of_the_history(damage: str, train: Train, tmp_path: Path) -> None:
    """As in a run that an earlier version has begun: patience 0 reduces the rate at the end of epochs."""
    result = train(max_epochs=4, learning_rate=0.5, lr_scheduler_patience=0, early_stopping_patience=None)
    content = checkpoints.load_checkpoint(result.checkpoint)
    changes = content["callbacks"]["LearningRates"]
    steps = content["global_step"]
    expected = tuple(change for change in zip(changes["steps"], changes["rates"], strict=True) if change[0] < steps)
    if damage == "no record":
        del content["callbacks"]["LearningRates"]
    elif damage != "none":
        content["callbacks"]["LearningRates"] = {name: values[1:] for name, values in changes.items()}
        assert changes["steps"][1:], "the test needs a rate that falls"
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    plan = plan_final(path, result.history, TrainingConfig(learning_rate=0.5))
    assert plan.steps == steps
    reference = StepPlan(steps=steps, rates=expected, seed=42)
    assert [plan.rate(step) for step in range(steps)] == [reference.rate(step) for step in range(steps)]
    content["callbacks"] = None
    torch.save(content, path)
    with pytest.raises(
        TrainingError, match=r"training cannot be resumed from .*best.ckpt: 'callbacks' must be a mapping"
    ):
        plan_final(path, result.history, TrainingConfig())


@pytest.mark.parametrize(
    "state",
    [
        {"steps": [0, 1], "rates": [0.1]},
        {"steps": [1, 0], "rates": [0.1, 0.2]},
        {"steps": [-1], "rates": [0.1]},
        {"steps": [0], "rates": [float("nan")]},
        {"steps": [0], "rates": ["0.1"]},
        {"steps": 0, "rates": []},
        {"rates": []},
    ],
)
def test_a_record_that_is_none_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"rate|steps"):
        read_changes(state)


def test_final_networks_are_the_same_in_processes_and_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(members_fit, "available_cores", lambda: 1)
    in_turn = fit_ensemble(tmp_path / "turn", members=2, plans=PLANS)
    monkeypatch.setattr(members_fit, "available_cores", lambda: 2)
    at_once = fit_ensemble(tmp_path / "once", members=2, plans=PLANS)
    for one, other, plan in zip(in_turn.members, at_once.members, PLANS, strict=True):
        assert same_weights(one, other)
        assert [row["step"] for row in other.history][-1] == plan.steps
        assert other.best_loss == other.history[-1]["train_loss"]
    alone = fit_ensemble(tmp_path / "alone", members=1, plans=PLANS[1:])
    assert same_weights(alone, at_once.members[1])


def test_a_run_that_ended_when_its_time_was_over_takes_no_step_when_it_is_resumed(train: Train) -> None:
    first = train(max_minutes=1e-4, max_epochs=50, early_stopping_patience=None)
    assert first.stopped_why == "0.0001 minutes are over"
    seen: list[int] = []

    class Count(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            seen.append(trainer.global_step)

    again = train(
        max_minutes=1e-4,
        max_epochs=50,
        early_stopping_patience=None,
        resume=first.checkpoint.parent,
        callbacks=[Count()],
    )
    assert (seen, again.stopped_why) == ([], first.stopped_why)
    assert same_weights(first, again)
    assert again.history == first.history
    longer = train(
        max_minutes=1.0, max_steps=first.history[-1]["step"] + 2, max_epochs=50, resume=first.checkpoint.parent,
        callbacks=[Count()],
    )  # fmt: skip
    assert len(seen) == 2
    assert longer.stopped_why.endswith("steps are done")
