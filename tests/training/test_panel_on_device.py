"""The panel is copied to the device where it fits, once, and neither training nor forecasts depend on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.training_fixtures import HORIZON, LOOKBACK, World

from fusecast.config import TrainingConfig
from fusecast.errors.training import TrainingInterrupted
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.model.batch import Batch
from fusecast.training.checkpoints import MovableCheckpoint
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.fit import FitResult
from fusecast.windows import device_gatherer
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.window_index import WindowIndex

Train = Callable[..., FitResult]
CPU = torch.device("cpu")


def same(first: FitResult, second: FitResult) -> bool:
    others = second.network.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in first.network.state_dict().items())


def with_gaps(encoded: EncodedPanel) -> EncodedPanel:
    """Take values away, and everything of some steps."""
    random = np.random.default_rng(0)
    present = (random.random(encoded.reals.shape) >= 0.1) & (random.random((len(encoded.reals), 1)) >= 0.05)
    return replace(encoded, reals=np.where(present, encoded.reals, 0).astype(np.float32), reals_present=present)


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[DevicePanel]:
    """Every panel that is put on a device."""
    panels: list[DevicePanel] = []

    class Noted(DevicePanel):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            panels.append(self)

    monkeypatch.setattr(device_gatherer, "DevicePanel", Noted)
    return panels


@pytest.mark.parametrize("gaps", [False, True])
def test_training_ends_with_the_same_weights_bit_for_bit(
    train: Train, world: World, tmp_path: Path, gaps: bool
) -> None:
    encoded = with_gaps(world.encoded) if gaps else world.encoded
    usual = train(encoded=encoded, folder=tmp_path / "usual", panel_on_device=False)
    on_device = train(encoded=encoded, folder=tmp_path / "device", panel_on_device=True)
    assert same(usual, on_device)
    losses = [[(row["train_loss"], row["val_loss"]) for row in result.history] for result in (usual, on_device)]
    assert losses[0] == losses[1]


def test_all_loaders_of_a_run_share_one_copy_that_is_freed(train: Train, uploads: list[DevicePanel]) -> None:
    train(panel_on_device=True, num_workers=2)  # no workers either: they could not use it
    (panel,) = uploads
    assert panel.reals.numel() == 0


def test_the_copy_is_freed_after_an_interruption_too(train: Train, uploads: list[DevicePanel]) -> None:
    class Stop(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        train(panel_on_device=True, callbacks=[Stop()])
    assert [panel.reals.numel() for panel in uploads] == [0]


def test_by_default_the_panel_is_copied_where_it_fits(
    train: Train, uploads: list[DevicePanel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 10**12)
    train()
    assert len(uploads) == 1


def test_a_run_resumed_within_an_epoch_ends_with_the_same_weights_wherever_the_panel_is(
    train: Train, tmp_path: Path
) -> None:
    every_step = MovableCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = train(folder=tmp_path / "whole", callbacks=[every_step], panel_on_device=True)
    for there in (True, False):
        folder = tmp_path / f"there {there}"
        resumed = train(folder=folder, resume=tmp_path / "steps" / "step=2.ckpt", panel_on_device=there)
        assert [row["train_loss"] for row in resumed.history] == [row["train_loss"] for row in whole.history], there
        assert same(whole, resumed), there


@pytest.mark.parametrize("fits", [False, True])
def test_a_panel_that_stays_is_sent_by_workers_from_pinned_memory(
    world: World, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 10**12 if fits else 0)
    monkeypatch.setattr(device_gatherer, "DevicePanel", lambda encoded, _: DevicePanel(encoded, CPU))  # no GPU is here
    strategy = SimpleNamespace(root_device=torch.device("cuda", 0))
    data = WindowDataModule(world.encoded, train=world.train, valid=world.valid, config=TrainingConfig(num_workers=2))
    data.trainer = SimpleNamespace(strategy=strategy, world_size=2, global_rank=1)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert (loader.pin_memory, loader.num_workers) == ((False, 0) if fits else (True, 2))
        assert (loader.seeded_sampler.rank, loader.seeded_sampler.world_size) == (1, 2)


def test_the_log_names_the_device_of_the_panel(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(folder=tmp_path / "device", progress=True, panel_on_device=True)
    assert ", 4 batches an epoch, panel on cpu (0.0 MiB)" in capsys.readouterr().err
    train(folder=tmp_path / "usual", progress=True)
    assert "panel on" not in capsys.readouterr().err


def test_a_batch_that_is_on_the_device_is_not_moved(world: World) -> None:
    config = TrainingConfig(panel_on_device=True)
    data = WindowDataModule(world.encoded, train=world.train, config=config)
    batch = next(iter(data.train_dataloader()))
    there = Batch(*(tensor.to("meta") for tensor in batch))
    assert data.transfer_batch_to_device(there, torch.device("meta"), 0) is there
    assert data.transfer_batch_to_device(batch, torch.device("meta"), 0).window.device.type == "meta"


@pytest.mark.parametrize("window_scaling", ["none", "mean"])
@pytest.mark.parametrize("gaps", [False, True])
def test_forecasts_are_the_same_wherever_the_panel_is(
    world: World, train: Train, uploads: list[DevicePanel], window_scaling: str, gaps: bool
) -> None:
    encoded = with_gaps(world.encoded) if gaps else world.encoded
    encoded = replace(encoded, window_scaling=window_scaling)
    network = train(max_epochs=1).network
    every = WindowIndex.between(lengths=world.panel.lengths, begin=1, end=160, lookback=LOOKBACK, horizon=HORIZON)
    padded = replace(every, first_cutoff=every.first_cutoff - 6)  # windows that begin before their series as well
    usual, on_device = (
        NetworkPredictor(network, world.preprocessor, batch_size=50, device="cpu", panel_on_device=requested)
        for requested in (False, True)
    )
    expected, forecasts = usual.predict(encoded, padded), on_device.predict(encoded, padded)
    assert len(uploads) == 1
    # the kernel that cuts windows on a CPU adds up a lookback in float64
    tolerance = 0.0 if window_scaling == "none" else 1e-4
    np.testing.assert_allclose(forecasts.quantiles, expected.quantiles, rtol=tolerance)
    for (_, one, _), (_, other, _) in zip(
        usual.outputs(encoded, padded), on_device.outputs(encoded, padded), strict=True
    ):
        torch.testing.assert_close(one.past_real, other.past_real, rtol=tolerance, atol=tolerance)
    assert len(uploads) == 2


def test_a_prediction_of_few_windows_sends_them_one_by_one(
    world: World, train: Train, uploads: list[DevicePanel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 10**12)
    predictor = NetworkPredictor(train(max_epochs=1, panel_on_device=False).network, world.preprocessor, device="cpu")
    predictor.predict(world.encoded, WindowIndex.at_end(lengths=[150, 150], lookback=LOOKBACK, horizon=HORIZON))
    assert uploads == []
    predictor.predict(world.encoded, world.valid)
    assert len(uploads) == 1
