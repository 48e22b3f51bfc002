from __future__ import annotations

import math

import pytest
import torch

from fusecast.errors import TrainingError
from fusecast.training.resumable_module import LossGuard, RunningMean


def test_a_bad_loss_is_seen_at_once_on_a_cpu() -> None:
    guard = LossGuard()
    guard.see(torch.tensor(1.0), torch.tensor([1, 2]), step=0, epoch=0)
    with pytest.raises(TrainingError, match=r"became inf in step 1 of epoch 0, .* 2 windows .* 3, 4\n"):
        guard.see(torch.tensor(math.inf), torch.tensor([3, 4]), step=1, epoch=0)


def test_elsewhere_the_first_bad_loss_is_found_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = LossGuard(interval=3)
    monkeypatch.setattr("fusecast.training.resumable_module._at_hand", lambda loss: False)
    for step, loss in enumerate([1.0, math.nan]):
        guard.see(torch.tensor(loss), torch.tensor([step]), step=step, epoch=2)
    with pytest.raises(TrainingError, match="became nan in step 1 of epoch 2"):
        guard.see(torch.tensor(math.nan), torch.tensor([2]), step=2, epoch=2)
    guard.look()  # what was reported is not reported twice


def test_the_running_mean_goes_on_where_it_was_saved() -> None:
    values = torch.rand(6).tolist()
    whole, part = RunningMean(), RunningMean()
    for number, value in enumerate(values):
        whole.add(torch.tensor(value), number + 1)
        part.add(torch.tensor(value), number + 1)
        part = RunningMean(*part.state())
    expected = sum(value * (number + 1) for number, value in enumerate(values)) / sum(range(1, 7))
    assert whole.mean(torch.device("cpu")) == part.mean(torch.device("cpu"))
    assert float(whole.mean(torch.device("cpu"))) == pytest.approx(expected)
