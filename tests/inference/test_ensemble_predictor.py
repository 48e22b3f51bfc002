"""The forecasts of several networks are mixed, whatever the scaling of each one's windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.encoded_panels import gather, make_encoded
from tests.helpers.training_fixtures import World

from fusecast.config import WindowScaling
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.model_bundle import Member
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.quantiles import mix_quantiles
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import compute_window_units, rescale_windows


def random_network(world: World, seed: int, head: str = "quantile") -> TemporalFusionTransformer:
    torch.manual_seed(seed)
    return TemporalFusionTransformer(replace(world.model, head=head)).eval()


def predictor_of(world: World, scalings: list[WindowScaling], head: str = "quantile") -> EnsemblePredictor:
    members = [Member(random_network(world, seed, head), scaling) for seed, scaling in enumerate(scalings)]
    return EnsemblePredictor(members, world.preprocessor, device="cpu", batch_size=20)


def test_forecasts_are_the_mixture_of_those_of_every_member(world: World) -> None:
    ensemble = predictor_of(world, ["none", "mean", "last", "season"])
    got = ensemble.predict(world.panel, world.valid)
    parts = []
    for member in ensemble.members:  # the slow, obvious way
        encoded = replace(world.encoded, window_scaling=member.window_scaling)
        windows = np.arange(len(world.valid))
        units = compute_window_units(encoded, world.valid.lookback, *world.valid.locate(windows))
        with torch.no_grad():
            scaled = member.network(gather(encoded, world.valid, windows)).quantiles.double().numpy()
        parts.append(np.empty_like(got.quantiles))
        for window in windows:
            for step in range(world.valid.horizon):
                values = scaled[window, step, 0] * units[1][window, 0] + units[0][window, 0]
                parts[-1][window, step, 0] = np.sort(values)
    np.testing.assert_allclose(got.quantiles, mix_quantiles(parts, got.levels), rtol=1e-5, atol=1e-3)
    assert (np.diff(got.quantiles) >= 0).all()
    assert got.levels == world.model.quantiles


def test_one_member_predicts_and_explains_as_its_network_alone_bit_for_bit(world: World) -> None:
    ensemble = predictor_of(world, ["none"])
    alone = NetworkPredictor(ensemble.members[0].network, world.preprocessor, device="cpu", batch_size=20)
    for source in (world.panel, world.encoded):
        expected = alone.predict(source, world.valid).quantiles
        np.testing.assert_array_equal(ensemble.predict(source, world.valid).quantiles, expected)
    forward = ensemble.forward(world.encoded, world.valid)
    pairs = zip(
        ensemble.outputs(world.encoded, world.valid), alone.outputs(world.encoded, world.valid), strict=True
    )  # fmt: skip
    for (_, batch, output), (_, _, expected) in pairs:
        for one, *others in zip(output, forward(batch), expected, strict=True):
            assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("scalings", [["none", "none"], ["mean", "last", "none"], ["none", "mean"]])
def test_outputs_are_combined_from_those_of_the_members(world: World, scalings: list[WindowScaling]) -> None:
    ensemble = predictor_of(world, scalings)
    forecasts = ensemble.predict(world.encoded, world.valid)
    single = [
        list(NetworkPredictor(m.network, world.preprocessor, device="cpu", batch_size=20).outputs(
            replace(world.encoded, window_scaling=m.window_scaling), world.valid)
        )
        for m in ensemble.members
    ]  # fmt: skip
    encoded = replace(world.encoded, window_scaling=scalings[0])
    for (windows, batch, output), *parts in zip(ensemble.outputs(world.encoded, world.valid), *single, strict=True):
        assert torch.equal(batch.past_real, parts[0][1].past_real)
        for name in ("static_weights", "past_weights", "future_weights", "attention"):
            mean = torch.stack([getattr(part[2], name) for part in parts]).mean(dim=0)
            torch.testing.assert_close(getattr(output, name), mean, rtol=1e-4, atol=1e-5)
        center, scale = compute_window_units(encoded, world.valid.lookback, *world.valid.locate(windows))
        values = output.quantiles.double().numpy() * scale[:, None, :, None] + center[:, None, :, None]
        np.testing.assert_allclose(values, forecasts.quantiles[windows], rtol=1e-4)


def test_a_distribution_has_quantiles_at_any_level_and_averages_of_counts_are_whole(world: World) -> None:
    for head in ("student_t", "negative_binomial"):
        ensemble = predictor_of(world, ["none", "none"], head)
        assert ensemble.supports_any_level
        levels = (0.05, 0.33, 0.9)
        single = [
            NetworkPredictor(member.network, world.preprocessor, device="cpu")
            .predict(world.encoded, world.valid, levels)
            .quantiles
            for member in ensemble.members
        ]
        mean = (single[0] + single[1]) / 2
        expected = np.rint(mean) if head == "negative_binomial" else mean
        np.testing.assert_allclose(ensemble.predict(world.encoded, world.valid, levels).quantiles, expected, rtol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("to", ["none", "mean", "last", "season"])
@pytest.mark.parametrize("scaled", ["none", "mean", "last", "season"])
def test_rescaled_windows_are_those_that_would_have_been_gathered(scaled: str, to: str, missing: float) -> None:
    encoded = make_encoded([30, 9], missing=missing, window_scaling=scaled, targets=2, empty_rows=missing / 3)
    index = WindowIndex.between(lengths=[30, 9], begin=0, end=[30, 9], lookback=8, horizon=3)
    windows = np.arange(len(index))
    other = replace(encoded, window_scaling=to)
    expected = make_gatherer(other, index)(windows)
    got, *units = rescale_windows(make_gatherer(encoded, index)(windows), encoded, index, to)
    for name, one, two in zip(expected._fields, got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4, msg=name)
    for one, two in zip(units, compute_window_units(other, 8, *index.locate(windows)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
