"""The scripts' datasets and loaders, in any DataLoader, with any sampler, and under Lightning's options."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.quiet_trainer import trainer
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Subset,
    WeightedRandomSampler,
    random_split,
)

from fusecast.compat.lightning_scripts.dataloaders import StepDataset, StepLoader, make_dataloaders
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.errors import ConfigError

pytestmark = pytest.mark.filterwarnings(  # advice of Lightning on trainers, and its own calls of torch
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval",
    "ignore:You requested to overfit", "ignore:.*exists and is not empty", "ignore:.*in the `DataLoader`",
)  # fmt: skip

WINDOW, BATCH = 6, 16
ROWS = np.stack([np.arange(160), np.cos(np.arange(160))], axis=1).astype(np.float32)


def loaders(**options: Any) -> tuple[StepLoader, StepLoader, StepLoader]:
    return make_dataloaders(ROWS, WINDOW, BATCH, **options)


def module() -> TemporalFusionTransformerLightning:
    torch.manual_seed(0)
    return TemporalFusionTransformerLightning(2, hidden_size=4, num_heads=1, dropout=0.2, seed=1)


def rows_of(batches: Any) -> list[list[int]]:
    """Return the rows that are forecast, batch by batch; every window must lie right before its row."""
    rows = []
    for x, y in batches:
        assert x.shape == (len(y), WINDOW, 2)
        assert torch.equal(x[:, :, 0], y[:, :1] + torch.arange(-WINDOW, 0))
        rows.append(y[:, 0].int().tolist())
    return rows


USES: dict[str, Callable[[StepDataset], DataLoader[Any]]] = {
    "shuffled": lambda data: DataLoader(data, batch_size=8, shuffle=True),
    "workers": lambda data: DataLoader(data, batch_size=8, num_workers=2),
    "one at a time": DataLoader,
    "incomplete batches left out": lambda data: DataLoader(data, batch_size=8, drop_last=True),
    "a subset": lambda data: DataLoader(Subset(data, range(5, 50)), batch_size=8),
    "a random part": lambda data: DataLoader(random_split(data, [0.6, 0.4])[0], batch_size=8),
    "weights": lambda data: DataLoader(data, batch_size=8, sampler=WeightedRandomSampler([1.0] * len(data), 40)),
    "joined": lambda data: DataLoader(ConcatDataset([data, Subset(data, [1, 2])]), batch_size=8, num_workers=1),
    "a sampler of batches": lambda data: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 8, False)),
}


@pytest.mark.parametrize("use", USES)
def test_a_dataset_works_in_any_dataloader(use: str, tmp_path: Path) -> None:
    train, valid, _ = loaders()
    loader = USES[use](train.dataset)
    batches = rows_of(loader)
    assert len(batches) == len(loader)
    model = module()
    fitted = trainer(tmp_path)
    fitted.fit(model, loader, DataLoader(valid.dataset, batch_size=8))
    assert fitted.global_step == len(loader)
    assert torch.isfinite(fitted.callback_metrics["val_loss"])


def test_items_are_pairs_one_by_one_or_several_at_once() -> None:
    data = loaders()[0].steps
    pairs = data.__getitems__([3, 7, -1])
    assert isinstance(pairs, list)
    for (x, y), window in zip(pairs, (3, 7, len(data) - 1), strict=True):
        assert torch.equal(x, data[window][0])
        assert torch.equal(y, data[window][1])
    with pytest.raises(IndexError):
        data[len(data)]


def test_workers_gather_the_same_batches_in_the_same_order() -> None:
    own, others = loaders(), loaders(num_workers=2)
    for _ in range(2):
        for one, other in zip(own, others, strict=True):
            assert rows_of(one) == rows_of(other)


def test_a_loader_with_workers_resumes_after_the_last_batch_that_was_taken() -> None:
    whole = rows_of(loaders()[0])
    train = loaders(num_workers=2)[0]
    batches = iter(train)
    assert rows_of(next(batches) for _ in range(3)) == whole[:3]
    resumed = loaders(num_workers=2)[0]
    resumed.load_state_dict(train.state_dict())
    assert rows_of(resumed) == whole[3:]


def test_workers_train_the_same_weights(tmp_path: Path) -> None:
    weights = []
    for num_workers in (0, 2):
        train, valid, _ = loaders(num_workers=num_workers)
        model = module()
        trainer(tmp_path, max_epochs=2).fit(model, train, valid)
        weights.append(model.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(
    ("options", "steps", "num_workers"),
    [
        ({"overfit_batches": 1}, 2, 1),
        ({"overfit_batches": 0.5}, 6, 0),
        ({"limit_train_batches": 2, "limit_val_batches": 1}, 4, 1),
        ({"limit_train_batches": 0.5}, 6, 0),
        ({"fast_dev_run": 2}, 2, 0),
    ],
)
def test_lightning_may_take_fewer_batches(options: Any, steps: int, num_workers: int, tmp_path: Path) -> None:
    train, valid, _ = loaders(num_workers=num_workers)
    fitted = trainer(tmp_path, max_epochs=2, **options)
    fitted.fit(module(), train, valid)
    assert fitted.global_step == steps
    assert torch.isfinite(fitted.callback_metrics["train_loss"])


def test_workers_end_with_the_training_and_begin_with_the_next(tmp_path: Path) -> None:
    train, valid, _ = loaders(num_workers=1)
    for options in ({}, {"limit_train_batches": 2}, {}):  # a whole epoch, one that is cut short, and again
        before = set(multiprocessing.active_children())
        fitted = trainer(tmp_path, max_epochs=1, **options)
        fitted.fit(module(), train, valid)
        assert fitted.global_step == options.get("limit_train_batches", len(train))
        assert set(multiprocessing.active_children()) <= before


def test_overfitting_takes_the_same_batch_in_every_epoch(tmp_path: Path) -> None:
    seen = []

    class Seen(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(rows_of([batch])[0])

    train, valid, _ = loaders()
    fitted = trainer(tmp_path, max_epochs=2, overfit_batches=1, callbacks=[Seen()])
    fitted.fit(module(), train, valid)
    fitted.save_checkpoint(tmp_path / "model.ckpt")  # with loaders that have no position
    assert seen == [list(range(WINDOW, WINDOW + BATCH))] * 2
    again = trainer(tmp_path, max_epochs=3, overfit_batches=1, callbacks=[Seen()])
    again.fit(module(), train, valid, ckpt_path=tmp_path / "model.ckpt", weights_only=True)
    assert len(seen) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_trainer_predicts_every_row_in_order(num_workers: int, tmp_path: Path) -> None:
    test = loaders(num_workers=num_workers)[2]
    model = module()
    for given in (test, DataLoader(test.dataset, batch_size=5, num_workers=num_workers)):
        forecast = torch.cat(trainer(tmp_path).predict(model, given))
        expected = torch.cat([model.eval()(x) for x, _ in loaders()[2]])
        torch.testing.assert_close(forecast, expected, rtol=0, atol=1e-4)


def test_a_data_module_may_make_the_loaders(tmp_path: Path) -> None:
    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loaders(num_workers=1)[0]

        def val_dataloader(self) -> Any:
            return DataLoader(loaders()[1].dataset, batch_size=4)

        def predict_dataloader(self) -> Any:
            return loaders()[2]

    fitted, model = trainer(tmp_path, overfit_batches=2), module()
    fitted.fit(model, datamodule=Data())
    assert fitted.global_step == 2
    assert sum(map(len, trainer(tmp_path).predict(model, datamodule=Data()))) == len(loaders()[2].steps)


@pytest.mark.parametrize(("number", "message"), [(-1, "at least 0, not -1"), (1.5, r"lie in 0, 1, \.\.\., not 1.5")])
def test_a_number_of_workers_is_a_whole_number(number: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"num_workers must .*{message}"):
        loaders(num_workers=number)
