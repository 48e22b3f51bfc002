"""The learning rate of the schedule `cosine`: its values, by steps and by time, and after an interruption."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from tests.helpers.training_fixtures import Train, same_weights

from fusecast.errors import TrainingError
from fusecast.errors.training import TrainingInterrupted
from fusecast.training.callbacks.stopping import Limits
from fusecast.training.lightning_module import TFTModule, cosine_factor

COSINE: dict[str, Any] = {"lr_schedule": "cosine", "learning_rate": 0.1, "early_stopping_patience": None}


class Rates(pl.Callback):
    """Record the learning rate of every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


class PressCtrlC(pl.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def expected_rate(step: int, steps: int) -> float:
    """Written from the definition: a tenth of the steps up, from a hundredth; then half a cosine down."""
    rise = steps / 10
    if step < rise:
        return 0.1 * max(step / rise, 0.01)
    return 0.1 * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


@pytest.mark.parametrize("limit", [{"max_epochs": 4}, {"max_epochs": 100, "max_steps": 7}])
def test_the_rate_rises_over_a_tenth_of_the_steps_and_falls_to_zero_at_the_last(
    train: Train, limit: dict[str, int]
) -> None:
    recorded = Rates()
    result = train(**COSINE, **limit, callbacks=[recorded])
    steps = result.history[-1]["step"]
    assert steps == limit.get("max_steps", len(recorded.rates))
    assert recorded.rates == pytest.approx([expected_rate(step, steps) for step in range(steps)])


def test_the_share_of_the_minutes_counts_where_it_is_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(max_steps=100, max_minutes=2.0)
    monkeypatch.setattr(limits, "_seconds", lambda: 30.0)
    assert limits.progress(10) == pytest.approx(0.25)
    assert limits.progress(80) == pytest.approx(0.8)
    assert Limits().progress(80) == 0.0


def test_the_factor_stays_in_its_bounds() -> None:
    assert [cosine_factor(share) for share in (0.0, 0.05, 0.1, 0.55, 1.0, 7.0)] == pytest.approx(
        [0.01, 0.5, 1.0, 0.5, 0.0, 0.0]
    )


def test_an_interrupted_run_goes_on_with_the_rate_of_an_undisturbed_one(
    train: Train, undisturbed: Train, tmp_path: Path
) -> None:
    whole = undisturbed(**COSINE, max_epochs=3)
    with pytest.raises(TrainingInterrupted):
        train(**COSINE, max_epochs=3, callbacks=[PressCtrlC(2)])
    resumed = train(**COSINE, max_epochs=3, resume=tmp_path / "run" / "checkpoints")
    assert [row["lr"] for row in resumed.history] == [row["lr"] for row in whole.history]
    assert same_weights(resumed, whole)


def test_a_run_is_not_resumed_under_another_schedule(train: Train, tmp_path: Path) -> None:
    result = train(max_epochs=1)
    with pytest.raises(TrainingError, match="lr_schedule was plateau and is cosine"):
        train(**COSINE, resume=result.checkpoint, folder=tmp_path / "other")


def test_a_trainer_without_an_end_keeps_the_full_rate(world: Any) -> None:
    module = TFTModule(world.model.to_dict(), lr_schedule="cosine", learning_rate=0.1, seed=0)
    optimizer = module.configure_optimizers()["optimizer"]  # by hand, without a trainer
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
