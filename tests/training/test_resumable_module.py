"""Loss checks, means, learning rate, and exact resumption within an epoch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.helpers.training_fixtures import Train, World, same_weights

from fusecast.errors import TrainingError
from fusecast.training.checkpoints import MovableCheckpoint
from fusecast.training.resumable_module import LossChecker, WeightedMean


def test_a_loss_that_is_not_finite_is_found_at_once_on_a_cpu() -> None:
    checker = LossChecker()
    checker.record(torch.tensor(1.0), torch.tensor([1, 2]), step=0, epoch=0)
    with pytest.raises(TrainingError, match=r"became inf in step 1 of epoch 0, .* 2 windows .* 3, 4\n"):
        checker.record(torch.tensor(math.inf), torch.tensor([3, 4]), step=1, epoch=0)


def test_on_other_devices_the_first_loss_that_is_not_finite_is_found_at_the_next_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checker = LossChecker(interval=3)
    monkeypatch.setattr("fusecast.training.resumable_module._is_readable_at_once", lambda loss: False)
    for step, loss in enumerate([1.0, math.nan]):
        checker.record(torch.tensor(loss), torch.tensor([step]), step=step, epoch=2)
    with pytest.raises(TrainingError, match="became nan in step 1 of epoch 2"):
        checker.record(torch.tensor(math.nan), torch.tensor([2]), step=2, epoch=2)
    checker.check()  # what was reported is not reported twice


def test_a_weighted_mean_continues_from_its_saved_state() -> None:
    values = torch.rand(6).tolist()
    whole, part = WeightedMean(), WeightedMean()
    for i, value in enumerate(values):
        whole.add(torch.tensor(value), i + 1)
        part.add(torch.tensor(value), i + 1)
        part = WeightedMean(*part.state())
    expected = sum(value * (i + 1) for i, value in enumerate(values)) / sum(range(1, 7))
    assert whole.mean(torch.device("cpu")) == part.mean(torch.device("cpu"))
    assert float(whole.mean(torch.device("cpu"))) == pytest.approx(expected)


def test_a_loss_that_is_no_number_is_an_error_that_names_the_batch(train: Train, world: World) -> None:
    spoiled = world.with_target(row=60, value=math.nan)
    with pytest.raises(TrainingError, match=r"training loss became nan in step \d of epoch 0.*") as caught:
        train(encoded=spoiled.encoded)
    numbers = [int(number) for number in str(caught.value).split("numbers ")[1].split(" and ")[0].split(", ")]
    assert all(0 <= number < len(world.train) for number in numbers)
    assert "32 windows" in str(caught.value)
    assert "learning rate" in str(caught.value)


def test_a_validation_loss_that_is_no_number_is_an_error_too(train: Train, world: World) -> None:
    spoiled = world.with_target(row=150, value=math.inf)
    with pytest.raises(TrainingError, match=r"validation loss became (nan|inf) after epoch 0"):
        train(encoded=spoiled.encoded)


def test_the_learning_rate_falls_when_validation_no_longer_improves(undisturbed: Train) -> None:
    options = {"lr_scheduler_patience": 0, "learning_rate": 0.3, "early_stopping_patience": None}
    result = undisturbed(max_epochs=10, **options, average_weights=False)
    rates = [row["lr"] for row in result.history]
    losses = [row["val_loss"] for row in result.history]
    expected, best = [0.3], math.inf
    for loss in losses[:-1]:
        expected.append(expected[-1] if loss < best * (1 - 1e-4) else expected[-1] / 2)
        best = min(best, loss)
    assert rates == expected
    assert rates[-1] < rates[0]


def test_a_run_resumed_within_an_epoch_ends_with_the_weights_of_an_undisturbed_one(
    train: Train, tmp_path: Path
) -> None:
    every_step = MovableCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = train(folder=tmp_path / "whole", callbacks=[every_step])
    for step in (1, 4, 6):
        resumed = train(folder=tmp_path / f"from {step}", resume=tmp_path / "steps" / f"step={step}.ckpt")
        assert [row["train_loss"] for row in resumed.history] == [row["train_loss"] for row in whole.history], step
        assert same_weights(whole, resumed), step
