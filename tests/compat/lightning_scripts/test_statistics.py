"""Inputs are standardised whatever training gets its batches from, and features are matched by their names."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import pytorch_lightning as lightning
import torch
from lightning_fabric import Fabric
from pytorch_lightning.tuner import Tuner
from tests.helpers.tables import two_waves
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
    random_split,
)

from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.compat.lightning_scripts.predict import predict_with_model
from fusecast.compat.lightning_scripts.statistics import MAX_WINDOWS, find_statistics
from fusecast.errors import ConfigError, DataError

# advice of Lightning on loaders and trainers, and its own calls of torch
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval",
    "ignore:.*exists and is not empty", "ignore:You defined a `validation_step` but have no", "ignore:.*shuffle",
    "ignore:Found .* in eval mode",
)  # fmt: skip

WINDOW = 6


def table() -> pl.DataFrame:
    """Two features far from zero."""
    return two_waves().select(a=1000 + 50 * pl.col("a"), b=pl.col("b") / 100)


def loaders(data: Any = None) -> tuple[Any, Any, Any]:
    return make_dataloaders(table() if data is None else data, WINDOW, 16)


def module(kind: type[TemporalFusionTransformerLightning] = TemporalFusionTransformerLightning, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(**{"input_size": 2, "hidden_size": 8, "num_heads": 2, "learning_rate": 0.01, **options})


def trainer(folder: Path, **options: Any) -> lightning.Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return lightning.Trainer(
        **{"max_epochs": 1, "accelerator": "cpu", "default_root_dir": folder, "num_sanity_val_steps": 0}
        | {"enable_checkpointing": False, **quiet, **options}
    )


def pairs(count: int = 60, seed: int = 0) -> TensorDataset:
    """Windows of two features around 1000 and 0, and the y of each around 7."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, WINDOW, 2, generator=generator) * torch.tensor([50.0, 0.01]) + torch.tensor([1000.0, 0.0])
    return TensorDataset(x, 7 + 3 * torch.randn(count, 2, generator=generator))


class Data(lightning.LightningDataModule):
    """A data module whose batch size can be searched for."""

    def __init__(self, train: Any, batch_size: int = 2) -> None:
        super().__init__()
        self.train, self.batch_size = train, batch_size

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, self.batch_size) if isinstance(self.train, TensorDataset) else self.train

    val_dataloader = train_dataloader


class WithLoaders(TemporalFusionTransformerLightning):
    """Defines its loaders itself."""

    def train_dataloader(self) -> Any:
        return loaders()[0]


class OfTwo(TemporalFusionTransformerLightning):
    """Trains on two loaders at once."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        parts = list(batch.values()) if isinstance(batch, dict) else batch
        return torch.stack([super(OfTwo, self).training_step(part, batch_idx) for part in parts]).mean()


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(pairs())


def test_a_data_module_and_loaders_of_the_module_standardise_as_loaders_do(tmp_path: Path) -> None:
    train = loaders()[0]
    ways: list[tuple[Any, dict[str, Any]]] = [
        (module(), {"train_dataloaders": train}),
        (module(), {"datamodule": Data(train)}),
        (module(WithLoaders), {}),
    ]
    for model, source in ways:
        run = trainer(tmp_path)
        run.fit(model, **source)
        assert torch.equal(model.center, train.steps.center)
        assert torch.equal(model.target_scale, train.steps.scale)
        assert run.callback_metrics["train_loss"] < 3, "losses are of standardised values"


def test_parts_of_the_datasets_have_their_statistics_and_others_are_sampled(tmp_path: Path) -> None:
    train, valid, _ = loaders()
    other = loaders(table() * 2)[0].dataset
    known = train.steps.center
    half = random_split(train.dataset, [0.5, 0.5], torch.Generator().manual_seed(0))[0]
    for dataset in (
        train.dataset,
        Subset(train.dataset, range(20)),
        half,
        ConcatDataset([train.dataset, valid.dataset]),
    ):
        model = module()
        trainer(tmp_path).fit(model, DataLoader(dataset, 8))
        assert torch.equal(model.center, known)
    both = ConcatDataset([train.dataset, other])
    model = module()
    trainer(tmp_path).fit(model, DataLoader(both, 8))
    x, y = default_collate([both[i] for i in range(len(both))])
    torch.testing.assert_close(model.center, x.flatten(0, 1).mean(dim=0))
    torch.testing.assert_close(model.target_scale, y.std(dim=0, correction=0))


def test_pairs_of_the_user_are_standardised_inputs_and_outputs_apart(tmp_path: Path) -> None:
    x, y = pairs().tensors
    named = [{"x": a, "y": b} for a, b in pairs()]
    ways = [
        DataLoader(pairs(), 16, shuffle=True),
        DataLoader(TensorDataset(x.double(), y.double()), 16),
        DataLoader(named, 16, collate_fn=lambda items: default_collate([(i["x"], i["y"]) for i in items])),
        DataLoader(TensorDataset(x.view(6, 10, WINDOW, 2), y.view(6, 10, 2)), batch_size=None),
        DataLoader(ConcatDataset([pairs(), pairs(seed=1)]), sampler=SubsetRandomSampler(range(60)), batch_size=8),
    ]
    for loader in ways:
        model = module()
        trainer(tmp_path).fit(model, loader)
        torch.testing.assert_close(model.center, x.flatten(0, 1).mean(dim=0))
        torch.testing.assert_close(model.scale, x.flatten(0, 1).std(dim=0, correction=0))
        torch.testing.assert_close(model.target_center, y.mean(dim=0))
        torch.testing.assert_close(model.target_scale, y.std(dim=0, correction=0))


def test_batches_that_the_loader_changes_are_sampled_as_it_makes_them(tmp_path: Path) -> None:
    train = loaders()[0]

    def scaled(items: Any) -> Any:
        x, y = default_collate(items)
        return x / 1000, y[:, :1]

    model = module(output_size=1)
    trainer(tmp_path).fit(model, DataLoader(train.dataset, 16, collate_fn=scaled))
    torch.testing.assert_close(model.center, train.steps.center / 1000, rtol=0.05, atol=1e-5)
    torch.testing.assert_close(model.target_center, train.steps.center[:1], rtol=0.05, atol=1e-5)


def test_several_loaders_at_once_are_standardised_together(tmp_path: Path) -> None:
    first, second = pairs(), pairs(seed=1)
    joined = torch.cat([first.tensors[1], second.tensors[1]])
    for both in (
        {"a": DataLoader(first, 16), "b": DataLoader(second, 16)},
        [DataLoader(first, 16), DataLoader(second)],
    ):
        model = module(OfTwo)
        trainer(tmp_path).fit(model, both)
        torch.testing.assert_close(model.target_center, joined.mean(dim=0))


def test_a_warning_says_where_inputs_cannot_be_standardised(tmp_path: Path) -> None:
    class Changes(TemporalFusionTransformerLightning):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch[0] / 1000, batch[1] / 7

    for model, loader in ((module(), DataLoader(Stream(), 16)), (module(Changes), DataLoader(pairs(), 16))):
        with pytest.warns(UserWarning, match="the inputs are not standardised: .* Hint: call `fit_standardizer`"):
            trainer(tmp_path).fit(model, loader)
        assert torch.equal(model.center, torch.zeros(2))
        model.standardizer_fitted = True
        trainer(tmp_path).fit(model, loader)  # no warning


def test_the_sample_is_bounded_even_and_leaves_loader_and_random_numbers_alone() -> None:
    read = []

    class Large(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 10 * MAX_WINDOWS

        def __getitem__(self, i: int) -> Any:
            read.append(i)
            return torch.randn(WINDOW, 2), torch.tensor([random.random(), 0.0])

    loader = DataLoader(Large(), 64, shuffle=True)
    torch.manual_seed(3)
    before, other = torch.get_rng_state(), random.getstate()
    assert find_statistics([loader], 2, 2) is not None
    assert read == list(range(0, 10 * MAX_WINDOWS, 10))
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == other


def test_a_constant_is_not_divided_by_zero_and_missing_values_are_refused() -> None:
    x, y = pairs().tensors
    x[..., 1] = 1e9
    assert module().fit_standardizer([(x, y)]).scale[1] == 1.0
    x[5, 2, 0] = torch.nan
    model = module()
    with pytest.raises(DataError, match="means and deviations of the inputs x cannot be computed"):
        model.fit_standardizer([(x, y)])
    assert torch.equal(model.center, torch.zeros(2))
    assert not model.standardizer_fitted
    with pytest.raises(DataError, match="yields no batch, so there is nothing to compute means and deviations from"):
        model.fit_standardizer([])


def test_the_standardizer_is_fitted_by_hand_from_loaders_streams_and_arrays() -> None:
    x, y = pairs().tensors
    for source in (DataLoader(pairs(), 7), DataLoader(Stream(), 7), [(x.numpy(), y.numpy())], iter([(x, y)])):
        model = module().fit_standardizer(source)
        torch.testing.assert_close(model.center, x.flatten(0, 1).mean(dim=0))
        torch.testing.assert_close(model.target_center, y.mean(dim=0))
    train = loaders()[0]
    assert torch.equal(module().fit_standardizer(train).scale, train.steps.scale)
    for wrong in ([x], [(x, y[:, None])], [(x[..., :1], y)], [{"x": x, "y": y}]):
        with pytest.raises(ConfigError):
            module().fit_standardizer(wrong)


def test_fabric_trains_a_module_with_a_fitted_standardizer() -> None:
    train = loaders()[0]
    fabric = Fabric(accelerator="cpu", devices=1)
    model = module().fit_standardizer(train)
    wrapped, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=0.01))
    wrapped.mark_forward_method("training_step")
    losses = []
    for _ in range(4):
        for i, batch in enumerate(fabric.setup_dataloaders(train)):
            optimizer.zero_grad()
            loss = wrapped.training_step(batch, i)
            fabric.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[0] < 5, "losses are of standardised values"
    assert np.mean(losses[-7:]) < 0.8 * np.mean(losses[:7])


def test_a_module_keeps_the_statistics_that_its_weights_belong_to(tmp_path: Path) -> None:
    train, _, _ = loaders()
    other = loaders(table() * 2)[0]
    model = module()
    trainer(tmp_path).fit(model, train)
    trainer(tmp_path).fit(model, other)
    assert torch.equal(model.center, train.steps.center), "of the first fit"
    run = trainer(tmp_path)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded = TemporalFusionTransformerLightning.load_from_checkpoint(tmp_path / "model.ckpt")
    trainer(tmp_path).fit(loaded, other)
    assert torch.equal(loaded.center, train.steps.center), "of the checkpoint"
    assert torch.equal(loaded.fit_standardizer(other).center, other.steps.center), "unless asked for"
    trainer(tmp_path).fit(loaded, train)
    assert torch.equal(loaded.center, other.steps.center)


def test_an_untrained_checkpoint_has_no_statistics_to_keep(tmp_path: Path) -> None:
    train = loaders()[0]
    run = trainer(tmp_path)
    run.strategy.connect(module())
    run.save_checkpoint(tmp_path / "new.ckpt")
    loaded = TemporalFusionTransformerLightning.load_from_checkpoint(tmp_path / "new.ckpt")
    trainer(tmp_path).fit(loaded, train)
    assert torch.equal(loaded.center, train.steps.center)


def test_a_search_for_the_batch_size_leaves_the_standardisation_to_the_fit(tmp_path: Path) -> None:
    data, model = Data(pairs()), module()
    run = trainer(tmp_path)
    size = Tuner(run).scale_batch_size(model, datamodule=data, max_trials=3, steps_per_trial=1)
    assert data.batch_size == size > 2
    assert not model.standardizer_fitted
    run.fit(model, datamodule=data)
    torch.testing.assert_close(model.target_center, pairs().tensors[1].mean(dim=0))


# Names of the features


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    run = trainer(tmp_path, max_epochs=2)
    run.fit(module(), loaders()[0])
    run.save_checkpoint(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_predictions_of_columns_in_another_order_are_the_same_in_that_order(trained: Path) -> None:
    plain, actual = predict_with_model(trained, loaders()[2], "cpu")
    for other in (loaders(table().select("b", "a"))[2], DataLoader(loaders(table().select("b", "a"))[2].dataset, 5)):
        swapped, swapped_actual = predict_with_model(trained, other, "cpu")
        np.testing.assert_allclose(swapped[:, ::-1], plain, rtol=1e-6)
        np.testing.assert_array_equal(swapped_actual[:, ::-1], actual)


def test_a_trainer_refuses_columns_in_another_order(trained: Path, tmp_path: Path) -> None:
    train, valid, test = loaders(table().select("b", "a"))
    model = TemporalFusionTransformerLightning.load_from_checkpoint(trained)
    assert model.feature_names == ("a", "b")
    order = r"in another order than in the training: column 0 is 'b', and was 'a'\nHint: .* table\[\['a', 'b'\]\]"
    run = trainer(tmp_path)
    trainer(tmp_path).validate(model, loaders()[1], verbose=False)
    for call in (run.validate, run.test, run.predict):
        with pytest.raises(DataError, match=order):
            call(model, test)
    with pytest.raises(DataError, match=order):
        run.fit(model, train)
    with pytest.raises(DataError, match=order):
        run.fit(module(), loaders()[0], valid)
    run.fit(model, loaders()[0], loaders()[1])
    with pytest.raises(DataError, match=order):  # although the loaders of the fit are right
        run.validate(model, valid)


def test_other_columns_are_named_and_arrays_have_none(trained: Path, tmp_path: Path) -> None:
    renamed = loaders(table().rename({"a": "c"}))[2]
    with pytest.raises(DataError, match="not those that the model was trained on; missing: 'a'; unknown: 'c'"):
        predict_with_model(trained, renamed, "cpu")
    model = TemporalFusionTransformerLightning.load_from_checkpoint(trained)
    with pytest.raises(DataError, match="missing: 'a'; unknown: 'c'"):
        trainer(tmp_path).test(model, renamed)
    model.feature_names = None
    trainer(tmp_path).fit(model, loaders(table().rename({"a": "c"}))[0])
    assert model.feature_names == ("c", "b")
    expected = predict_with_model(trained, loaders()[2], "cpu")[0]
    array = predict_with_model(trained, loaders(table().to_numpy())[2], "cpu")[0]
    np.testing.assert_array_equal(array, expected)


def test_a_checkpoint_without_names_accepts_every_order(trained: Path) -> None:
    content = torch.load(trained, weights_only=True)
    assert content.pop("feature_names") == ["a", "b"]
    del content["standardizer_fitted"]
    torch.save(content, trained)
    model = TemporalFusionTransformerLightning.load_from_checkpoint(trained)
    assert model.feature_names is None
    assert model.standardizer_fitted
    assert len(predict_with_model(trained, loaders(table().select("b", "a"))[2], "cpu")[0])


@pytest.mark.parametrize("shape", [(5, 1, 2), (5, 1), (5,)])
def test_forecasts_are_not_compared_with_a_y_of_another_shape(trained: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"the shape of y in a batch must be \[5, 2\], not \["):
        predict_with_model(trained, [(torch.zeros(5, WINDOW, 2), torch.zeros(shape))], "cpu")
    with pytest.raises(ConfigError, match=r"a batch must be a pair \(x, y\), not a Tensor"):
        predict_with_model(trained, [torch.zeros(5, WINDOW, 2)], "cpu")
