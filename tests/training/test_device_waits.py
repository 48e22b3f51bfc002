"""Between two steps nothing reads a value from the device: neither the trainer nor its callbacks nor our module."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
from tests.helpers.training_fixtures import Train
from torch.utils._python_dispatch import TorchDispatchMode


class ValueReads(TorchDispatchMode):
    """Count the reads of single values."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_local_scalar_dense" in func.name() or "nonzero" in func.name()
        return func(*args, **(kwargs or {}))


class CountsAtSteps(pl.Callback):
    """Record how many reads there were when each step began."""

    def __init__(self, reads: ValueReads) -> None:
        self.reads = reads
        self.counts: list[int] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.counts.append(self.reads.count)


class CuriousCallback(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        float(outputs["loss"])


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernels of a CPU, and losses that cannot be read at once."""
    for module in ("kernels.library", "kernels.adamw", "windows.sampler"):
        monkeypatch.setattr(f"fusecast.{module}.library", lambda: None)
    monkeypatch.setattr("fusecast.training.resumable_module._is_readable_at_once", lambda loss: False)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("callbacks", [[], [CuriousCallback()]])
def test_steps_follow_each_other_without_reading_a_value(train: Train, callbacks: list[pl.Callback]) -> None:
    with ValueReads() as reads:
        steps = CountsAtSteps(reads)
        train(max_epochs=1, panel_on_device=True, max_minutes=5.0, callbacks=[*callbacks, steps])
    assert len(steps.counts) == 4
    assert reads.count > steps.counts[-1], "the test needs the reads at the end of the epoch"
    if callbacks:
        assert steps.counts[-1] - steps.counts[1] == 2
    else:
        assert steps.counts[-1] == steps.counts[1]
