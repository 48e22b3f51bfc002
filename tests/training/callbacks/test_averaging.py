from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
import torch
from tests.helpers.training_fixtures import Train
from torch import Tensor

from fusecast.training.callbacks.averaging import CURRENT_WEIGHTS
from fusecast.training.checkpoints import load_checkpoint

DEGREE = 8


class Record(pl.Callback):
    """The weights after each step, and those that are validated after each epoch."""

    def __init__(self) -> None:
        self.after_step: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.first = copy_weights(module)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        self.after_step.append(copy_weights(module))

    def on_validation_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        self.validated = [*self.validated[: trainer.current_epoch], copy_weights(module)]


def copy_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def average(record: Record, steps: int) -> dict[str, Tensor]:
    """Return the average of the weights after so many steps, from its definition, in float64."""
    result = {name: weight.double() for name, weight in record.first.items()}
    for t in range(1, steps + 1):
        share = (DEGREE + 1) / (t + DEGREE)
        result = {
            name: (1 - share) * mean + share * record.after_step[t - 1][name].double() for name, mean in result.items()
        }
    return result


def assert_close(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name].double(), tensor, rtol=1e-5, atol=1e-6)


def test_the_average_is_validated_and_kept_and_training_goes_on_without_it(train: Train, tmp_path: Path) -> None:
    record, plain = Record(), Record()
    result = train(folder=tmp_path / "average", max_epochs=3, callbacks=[record], learning_rate=0.01)
    train(folder=tmp_path / "plain", max_epochs=3, callbacks=[plain], average_weights=False, learning_rate=0.01)
    steps = [row["step"] for row in result.history]
    assert len(record.after_step) == len(plain.after_step) == steps[-1]
    for own, other in zip(record.after_step, plain.after_step, strict=True):
        assert all(torch.equal(own[name], other[name]) for name in own)
    assert not torch.equal(
        record.validated[1]["network.head.projection.bias"],
        record.after_step[steps[1] - 1]["network.head.projection.bias"],
    )
    for epoch, step in enumerate(steps):
        assert_close(record.validated[epoch], average(record, step))
    best = min(range(3), key=lambda epoch: result.history[epoch]["val_loss"])
    kept = {f"network.{name}": tensor for name, tensor in result.network.state_dict().items()}
    assert_close(kept, average(record, steps[best]))


def test_a_checkpoint_has_the_average_and_the_weights_to_go_on_with(train: Train, tmp_path: Path) -> None:
    record = Record()
    result = train(folder=tmp_path, max_epochs=2, callbacks=[record], learning_rate=0.01)
    content = load_checkpoint(result.checkpoint.parent / "last.ckpt")
    assert all(torch.equal(content[CURRENT_WEIGHTS][name], weight) for name, weight in record.after_step[-1].items())
    assert_close(content["state_dict"], average(record, len(record.after_step)))


def test_the_average_after_the_first_step_is_the_weights(train: Train, tmp_path: Path) -> None:
    record = Record()
    train(folder=tmp_path, max_steps=1, callbacks=[record], learning_rate=0.01)
    assert all(torch.equal(record.validated[0][name], weight) for name, weight in record.after_step[0].items())
