"""Final training: networks that learn from all rows, for as many steps as the judged ones took, at their rates."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytorch_lightning as pl

from fusecast.errors import TrainingError
from fusecast.io.documents import take
from fusecast.training.checkpoints import load_training_state

if TYPE_CHECKING:
    from fusecast.config import TrainingConfig

JUDGED_SHARE = {"refit": 0.5, "finetune": 0.8}
"""Share of `max_minutes` that the judged networks have, by the kind of the final training."""
FINETUNE_STEPS = 0.25
"""Steps of a fine-tuning, as a share of those that the judged network took."""
FINETUNE_RATE = 0.3
"""Learning rate of a fine-tuning, as a share of the largest one of the judged training."""
LEAST_REFITTED = 0.5
"""Share of its steps that a network trained anew has to take in the time that is left; one with fewer is not used."""

Rates = tuple[tuple[int, float], ...]
"""Steps, the first of them 0, and the learning rate from each of them on."""


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """How a final network is trained: so many steps, at these learning rates, from a seed; the last weights count."""

    steps: int
    rates: Rates
    seed: int

    def apply(self, config: TrainingConfig) -> TrainingConfig:
        """Return the options of the network that is trained so."""
        changes = {"seed": self.seed, "max_steps": self.steps, "max_epochs": self.steps}
        return config.model_copy(
            update={**changes, "members": 1, "lr_schedule": "plateau", "early_stopping_patience": None}
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.rates[bisect_right(self.rates, step, key=lambda change: change[0]) - 1][1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        return {"steps": self.steps, "rates": [list(change) for change in self.rates], "seed": self.seed}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the plan that :meth:`to_dict` describes."""
        return cls(**{**values, "rates": tuple((step, rate) for step, rate in values["rates"])})


class FollowPlan(pl.Callback):
    """Take each step at the learning rate of a plan, whatever the scheduler says."""

    def __init__(self, plan: StepPlan) -> None:
        self.plan = plan

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Set the learning rate of the step."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.plan.rate(trainer.global_step)


class LearningRates(pl.Callback):
    """Record the learning rates of a training in its checkpoints, for the final one."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Record the learning rate of the step where it is another than before."""
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        if not self.changes or self.changes[-1][1] != rate:
            self.changes.append((trainer.global_step, rate))

    def state_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"steps": [step for step, _ in self.changes], "rates": [rate for _, rate in self.changes]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the record of the checkpoint; raise a ValueError where it is none."""
        self.changes = read_changes(state_dict)


def read_changes(state: dict[str, Any]) -> list[tuple[int, float]]:
    """Return the changes of the learning rate in the state of :class:`LearningRates`, or raise a ValueError."""
    steps, rates = take(state, "steps", list, items=int), take(state, "rates", list, items=float)
    if len(steps) != len(rates) or any(step < 0 for step in steps) or any(a >= b for a, b in pairwise(steps)):
        raise ValueError("the learning rates are not those of ascending steps")
    if not all(0 <= rate < float("inf") for rate in rates):
        raise ValueError("a learning rate is negative or infinite")
    return list(zip(steps, rates, strict=True))


def plan_final(checkpoint: Path, history: list[dict[str, Any]], config: TrainingConfig) -> StepPlan:
    """Return how a final network is trained, from the best checkpoint, the history and the options of the judged one.

    Raise a TrainingError where the checkpoint does not say how it was trained.
    """
    content = load_training_state(checkpoint)
    try:
        steps = take(content, "global_step", int)
        state = take(content, "callbacks", dict).get(LearningRates.__qualname__)
        changes = read_changes(state) if isinstance(state, dict) else []
    except ValueError as error:
        raise TrainingError.checkpoint_mismatch(checkpoint, str(error)) from None
    if steps < 1:
        raise TrainingError.checkpoint_mismatch(checkpoint, "it has taken no step")
    if config.final == "finetune":
        steps = max(1, round(FINETUNE_STEPS * steps))
        changes = [(0, FINETUNE_RATE * config.rate)]
    return StepPlan(steps=steps, rates=_complete(changes, history, steps, config), seed=config.seed)


def _complete(
    changes: list[tuple[int, float]], history: list[dict[str, Any]], steps: int, config: TrainingConfig
) -> Rates:
    """Return the learning rates before a step; what an earlier version did not record is that of each epoch's row."""
    begin, rates = 0, []
    for row in history:
        rates.append((begin, float(row["lr"])))
        begin = row["step"]
    first = changes[0][0] if changes else steps
    known = [change for change in rates if change[0] < first] or ([] if first == 0 else [(0, config.rate)])
    return tuple(change for change in [*known, *changes] if change[0] < steps)
