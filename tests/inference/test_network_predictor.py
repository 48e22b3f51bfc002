from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.encoded_panels import gather
from tests.helpers.training_fixtures import TRAIN_END, World

from fusecast.config import FeatureConfig
from fusecast.errors import ConfigError
from fusecast.features.preprocessor import Preprocessor
from fusecast.inference import network_predictor
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.model.batch import Batch
from fusecast.model.tft import TemporalFusionTransformer


@pytest.fixture
def network(world: World) -> TemporalFusionTransformer:
    torch.manual_seed(0)
    return TemporalFusionTransformer(replace(world.model, dropout=0.5))


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_forecasts_are_the_networks_output_in_the_units_of_the_data(
    network: TemporalFusionTransformer, world: World, batch_size: int
) -> None:
    got = NetworkPredictor(network, world.preprocessor, batch_size=batch_size, device="cpu").predict(
        world.panel, world.valid
    )
    series, cutoff = world.valid.locate(np.arange(len(world.valid)))
    network.eval()
    with torch.no_grad():
        scaled = network(gather(world.encoded, world.valid, np.arange(len(world.valid)))).quantiles.numpy()
    for window in range(len(world.valid)):  # the slow, obvious way
        expected = (
            scaled[window, :, 0] * world.encoded.scale[series[window], 0] + world.encoded.center[series[window], 0]
        )
        np.testing.assert_allclose(got.quantiles[window, :, 0], np.sort(expected), rtol=1e-5)
    np.testing.assert_array_equal(got.series, series)
    np.testing.assert_array_equal(got.cutoff, cutoff)
    assert got.quantiles.dtype == np.float64
    assert got.levels == world.model.quantiles


@pytest.mark.parametrize("scaling", ["mean", "last"])
def test_windows_that_are_scaled_once_more_come_back_to_the_units_of_the_data(
    network: TemporalFusionTransformer, world: World, scaling: str
) -> None:
    fitted = Preprocessor(FeatureConfig(window_scaling=scaling)).fit(world.panel, np.full(2, TRAIN_END))
    encoded = fitted.encode(world.panel)
    got = NetworkPredictor(network, fitted, device="cpu").predict(encoded, world.valid)
    batch = gather(encoded, world.valid, np.arange(len(world.valid)))
    with torch.no_grad():
        scaled = network.eval()(batch).quantiles.double()
    expected = scaled * batch.scale.double()[:, None, :, None] + batch.center.double()[:, None, :, None]
    # the batch has its center, up to 4,000, in float32
    np.testing.assert_allclose(got.quantiles, np.sort(expected.numpy()), rtol=1e-5, atol=1e-3)


def test_quantiles_rise_with_their_level(network: TemporalFusionTransformer, world: World) -> None:
    raw = [
        output.quantiles
        for *_, output in NetworkPredictor(network, world.preprocessor).outputs(world.encoded, world.valid)
    ]
    assert (torch.cat(raw).diff(dim=-1) < 0).any(), "the test needs a network whose quantiles cross"
    got = NetworkPredictor(network, world.preprocessor, device="cpu").predict(world.encoded, world.valid)
    assert (np.diff(got.quantiles) >= 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_in_the_mode_it_was_in(
    network: TemporalFusionTransformer, world: World, training: bool
) -> None:
    network.train(training)
    predictor = NetworkPredictor(network, world.preprocessor, device="cpu")
    first = predictor.predict(world.encoded, world.valid)
    assert network.training is training
    np.testing.assert_array_equal(predictor.predict(world.encoded, world.valid).quantiles, first.quantiles)


def test_outputs_name_their_windows(network: TemporalFusionTransformer, world: World) -> None:
    parts = list(
        NetworkPredictor(network, world.preprocessor, device="cpu", batch_size=10).outputs(world.encoded, world.valid)
    )
    np.testing.assert_array_equal(np.concatenate([windows for windows, *_ in parts]), np.arange(len(world.valid)))
    for windows, batch, output in parts:
        assert len(windows) == len(batch.window) == len(output.quantiles) == len(output.attention)
        assert not output.quantiles.requires_grad


def test_windows_of_another_size_are_refused(network: TemporalFusionTransformer, world: World) -> None:
    predictor = NetworkPredictor(network, world.preprocessor, device="cpu")
    with pytest.raises(ConfigError, match="has horizon 9, and the network expects horizon 4"):
        predictor.predict(world.encoded, replace(world.valid, horizon=9))
    with pytest.raises(ConfigError, match="has lookback 9, and the network expects lookback"):
        predictor.predict(world.encoded, replace(world.valid, lookback=9))


@pytest.mark.parametrize("window_scaling", ["none", "mean", "last", "season"])
def test_a_high_level_of_the_data_costs_no_precision(
    network: TemporalFusionTransformer, world: World, window_scaling: str
) -> None:
    def forecasts(level: float) -> np.ndarray:
        panel = replace(world.panel, reals={**world.panel.reals, "y": world.panel.reals["y"] + level})
        fitted = Preprocessor(FeatureConfig(window_scaling=window_scaling)).fit(panel, np.full(2, TRAIN_END))
        return NetworkPredictor(network, fitted, device="cpu").predict(panel, world.valid).quantiles - level

    np.testing.assert_allclose(forecasts(1e9), forecasts(0.0), atol=1e-3)


@pytest.fixture
def meta_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept a device without values in place of a GPU."""
    monkeypatch.setattr(network_predictor, "torch_device", torch.device)


@pytest.mark.usefixtures("meta_is_available")
def test_a_prediction_on_another_device_leaves_the_network_where_it_was(
    network: TemporalFusionTransformer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (id(parameter), parameter.device) for name, parameter in network.named_parameters()}
    values = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.head.eval()  # modules may differ in their mode
    modes = {name: module.training for name, module in network.named_modules()}
    predictor = NetworkPredictor(network, world.preprocessor, device="meta", batch_size=1000)
    assert predictor.network is predictor.network, "the copy is made once"
    assert {parameter.device.type for parameter in predictor.network.parameters()} == {"meta"}
    inputs: list[tuple[Batch, bool]] = []
    copied = predictor.network  # autocast refuses the device, so that its forward pass cannot run
    monkeypatch.setattr(copied, "forward", lambda batch, _: inputs.append((batch, copied.training)))
    list(predictor.outputs(world.encoded, world.valid))
    ((batch, training),) = inputs
    assert (batch.past_real.device.type, training) == ("meta", False)
    after = {name: (id(parameter), parameter.device) for name, parameter in network.named_parameters()}
    assert after == before
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(values[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.usefixtures("meta_is_available")
def test_no_copy_is_made_before_the_first_prediction(
    network: TemporalFusionTransformer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[object] = []
    monkeypatch.setattr(network_predictor.copy, "deepcopy", lambda value: copies.append(value) or value)
    predictor = NetworkPredictor(network, world.preprocessor, device="meta")
    assert not predictor.supports_any_level
    assert repr(predictor) == "NetworkPredictor(lookback=12, horizon=4, head='quantile', device='meta')"
    assert copies == []


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu", 0)])
def test_a_network_that_is_on_the_device_predicts_itself(
    network: TemporalFusionTransformer, world: World, device: str | torch.device
) -> None:
    network.train()
    identities = [id(parameter) for parameter in network.parameters()]
    predictor = NetworkPredictor(network, world.preprocessor, device=device)
    assert np.isfinite(predictor.predict(world.encoded, world.valid).quantiles).all()
    assert predictor.network is network
    assert all(module.training for module in network.modules())
    assert [id(parameter) for parameter in network.parameters()] == identities
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_an_absent_device_is_refused(network: TemporalFusionTransformer, world: World, device: str) -> None:
    with pytest.raises(ConfigError, match=device.split(":", maxsplit=1)[0]):
        NetworkPredictor(network, world.preprocessor, device=device)
