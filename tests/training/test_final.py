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
from fusecast.training.checkpoints import STATE_OF_TRAINING
from fusecast.training.final import StepPlan, plan_final, read_changes
from fusecast.training.members import fit as members_fit

PLANS = tuple(StepPlan(steps=steps, rates=((0, 0.1), (2, 0.01)), seed=seed) for steps, seed in ((4, 42), (3, 50)))


def test_the_rate_of_a_step_is_the_latest_change() -> None:
    plan = StepPlan(steps=5, rates=((0, 0.1), (2, 0.01), (4, 0.2)), seed=7)
    assert [plan.rate(step) for step in range(6)] == [0.1, 0.1, 0.01, 0.01, 0.2, 0.2]
    assert StepPlan.from_dict(plan.to_dict()) == plan
    config = plan.apply(TrainingConfig(seed=3, members=2, lr_schedule="cosine"))
    assert (config.seed, config.max_steps, config.members) == (7, 5, 1)


@pytest.mark.parametrize("recorded", [[(0, 0.5), (4, 0.25), (8, 0.1)], [(4, 0.25)], [(5, 0.25)], []])
def test_rates_that_were_not_recorded_are_those_of_the_history(recorded: list[Any], tmp_path: Path) -> None:
    """As in a run that an earlier version has begun; what comes after the best weights does not count."""
    record = {"steps": [step for step, _ in recorded], "rates": [rate for _, rate in recorded]}
    content: dict[str, Any] = {name: {} for name in STATE_OF_TRAINING}
    content |= {"global_step": 7, "callbacks": {"LearningRates": record} if recorded else {}}
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    history = [{"step": 4, "lr": 0.5}, {"step": 8, "lr": 0.25}, {"step": 12, "lr": 0.1}]
    plan = plan_final(path, history, TrainingConfig(learning_rate=0.5, seed=9))
    assert (plan.steps, plan.seed) == (7, 9)
    assert [plan.rate(step) for step in range(7)] == [0.5] * 4 + [0.25] * 3
    assert all(step < 7 for step, _ in plan.rates)
    finetuned = plan_final(path, history, TrainingConfig(learning_rate=0.5, final="finetune"))
    assert (finetuned.steps, finetuned.rates) == (2, ((0, 0.15),))
    for damage in ({"callbacks": None}, {"global_step": 0}, {"global_step": "7"}):
        torch.save({**content, **damage}, path)
        with pytest.raises(TrainingError, match=r"training cannot be resumed from .*best.ckpt: "):
            plan_final(path, history, TrainingConfig())


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
