"""Between two steps nobody asks the device for a value: neither the trainer nor its callbacks nor our module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
from torch.utils._python_dispatch import TorchDispatchMode

from fusecast.training.fit import FitResult

Train = Callable[..., FitResult]


class Looks(TorchDispatchMode):
    """Counts the looks at single values."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_local_scalar_dense" in func.name() or "nonzero" in func.name()
        return func(*args, **(kwargs or {}))


class Note(pl.Callback):
    """Notes how many there were when each step began."""

    def __init__(self, looks: Looks) -> None:
        self.looks = looks
        self.counts: list[int] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.counts.append(self.looks.count)


class CuriousCallback(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        float(outputs["loss"])


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernels of a CPU, and losses that are not at hand."""
    for module in ("model.kernels.native", "windows.order", "training.adam"):
        monkeypatch.setattr(f"fusecast.{module}.library", lambda: None)
    monkeypatch.setattr("fusecast.training.resumable_module._at_hand", lambda loss: False)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("callbacks", [[], [CuriousCallback()]])
def test_steps_follow_each_other_without_a_look(train: Train, callbacks: list[pl.Callback]) -> None:
    with Looks() as looks:
        note = Note(looks)
        train(max_epochs=1, panel_on_device=True, max_minutes=5.0, callbacks=[*callbacks, note])
    assert len(note.counts) == 4
    assert looks.count > note.counts[-1], "the test needs the looks at the end of the epoch"
    if callbacks:
        assert note.counts[-1] - note.counts[1] == 2
    else:
        assert note.counts[-1] == note.counts[1]
