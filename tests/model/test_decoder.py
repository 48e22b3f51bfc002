"""Prediction in one pass of the kernel equals prediction module by module."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.helpers.networks import as_dtype, build_network
from torch import Tensor, nn

from fusecast.kernels import decoder as kernel
from fusecast.kernels.library import call, library
from fusecast.model import decoder, tft
from fusecast.model.batch import Batch, Output, example_batch
from fusecast.model.config import ATTENTION_MASKS, ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

pytestmark = pytest.mark.skipif(library() is None, reason="no C compiler here, or FUSECAST_KERNELS=0")

CONFIG = ModelConfig(
    horizon=9, lookback=50, num_targets=2, static_reals=2, observed_reals=3, known_reals=2, known_categories=(5, 2),
    hidden_size=24, num_heads=3,
)  # fmt: skip

CASES = {
    "as it is": {},
    "one head": {"num_heads": 1},
    "one step ahead": {"horizon": 1},
    "a horizon that is longer than wide": {"horizon": 30, "lookback": 10},
    "a lookback of one step": {"lookback": 1},
    "a width that fills tiles": {"hidden_size": 64, "num_heads": 4},
    "a width that fills neither 8 nor 16": {"hidden_size": 20, "num_heads": 4},
    "two LSTM layers": {"num_lstm_layers": 2},
    "no static variables": {"static_reals": 0},
    "no static variables, but contexts": {"static_reals": 0, "contexts_without_static": True},
    "nothing known": {"known_reals": 0, "known_categories": ()},
    "biases in attention": {"attention_bias": True},
    "biases in attention, strict": {"attention_bias": True, "attention_mask": "strict"},
    "one target": {"num_targets": 1},
    "a larger epsilon": {"layer_norm_eps": 1e-2},
} | {f"mask {mask}": {"attention_mask": mask} for mask in ATTENTION_MASKS}


def build_noisy(config: ModelConfig) -> TemporalFusionTransformer:
    return build_network(config, dtype=torch.float32, perturb="", noise=0.1).eval()


def module_by_module(network: TemporalFusionTransformer, batch: Batch) -> Output:
    """Run the plain network in float64."""
    precise = TemporalFusionTransformer(network.config).double().eval()
    precise.load_state_dict(network.state_dict())
    with torch.inference_mode():
        output: Output = precise(as_dtype(batch, torch.float64))
    return output


def in_one_pass(network: TemporalFusionTransformer, batch: Batch) -> Output:
    with torch.inference_mode():
        output: Output = network(batch)
    return output


def assert_same(actual: Output, expected: Output) -> None:
    for name in ("quantiles", "attention"):
        x, y = getattr(actual, name), getattr(expected, name)
        assert x.shape == y.shape
        torch.testing.assert_close(x.double(), y, rtol=1e-5, atol=1e-5)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(kernel, "call", lambda name, arguments: names.append(name) or call(name, arguments))
    return names


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("case", CASES)
def test_quantiles_and_attention_are_those_of_the_plain_network(case: str, missing: float, calls: list[str]) -> None:
    network = build_noisy(replace(CONFIG, **CASES[case]))
    batch = example_batch(network.config, 7, missing=missing)
    actual = in_one_pass(network, batch)
    assert calls == ["decode"]
    assert_same(actual, module_by_module(network, batch))


@pytest.mark.parametrize("folded", [True, False])
def test_keys_and_values_computed_or_folded_give_the_same(folded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = build_noisy(CONFIG), example_batch(CONFIG, 3, missing=0.3)
    monkeypatch.setattr(decoder, "is_folding_cheaper", lambda *_: folded)
    assert_same(in_one_pass(network, batch), module_by_module(network, batch))


@pytest.mark.parametrize("windows", [1, 4, 11])
@pytest.mark.parametrize("threads", [1, 3])
def test_groups_of_any_size_give_the_same(windows: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = build_noisy(CONFIG), example_batch(CONFIG, 11, missing=0.3)
    some = Batch(*(tensor[:windows] for tensor in batch))
    expected = in_one_pass(network, batch).quantiles[:windows]
    monkeypatch.setattr(kernel, "GROUP_SIZE", 4)
    torch.set_num_threads(threads)
    torch.testing.assert_close(in_one_pass(network, some).quantiles, expected, rtol=1e-5, atol=1e-6)


def test_a_window_with_nothing_in_its_past_sees_the_future_alone() -> None:
    for bias in (False, True):
        network = build_noisy(replace(CONFIG, attention_mask="strict", attention_bias=bias))
        batch = example_batch(CONFIG, 3, missing=0.3)
        batch = batch._replace(past_mask=torch.zeros_like(batch.past_mask))
        actual = in_one_pass(network, batch)
        assert torch.equal(actual.attention[:, 0], torch.zeros_like(actual.attention[:, 0])), "nothing before step 0"
        assert_same(actual, module_by_module(network, batch))


def test_a_nan_stays_in_its_window() -> None:
    network, batch = build_noisy(CONFIG), example_batch(CONFIG, 3)
    real = batch.past_real.clone()
    real[1, 4, 0] = torch.nan
    actual = in_one_pass(network, batch._replace(past_real=real)).quantiles
    assert actual[1].isnan().all()
    assert actual[[0, 2]].isfinite().all()


@pytest.mark.parametrize("what", ["training", "gradients", "float64", "no kernels"])
def test_where_it_cannot_be_one_pass_the_modules_do_it(
    what: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, batch = build_noisy(replace(CONFIG, dropout=0.0)), example_batch(CONFIG, 2)
    expected = in_one_pass(network, batch).quantiles
    calls.clear()
    if what == "float64":
        network, batch = network.double(), as_dtype(batch, torch.float64)
    if what == "no kernels":
        monkeypatch.setattr(tft, "kernels_supported", lambda *_: False)
    with torch.set_grad_enabled(what == "gradients"):
        actual: Tensor = network.train(what == "training")(batch).quantiles
    assert calls == []
    torch.testing.assert_close(actual.float(), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def built_horizons(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The horizons of the decoders that are built."""
    horizons: list[int] = []

    class Counted(decoder.FusedDecoder):
        def __init__(self, layers: decoder.DecoderLayers, config: ModelConfig, horizon: int) -> None:
            horizons.append(horizon)
            super().__init__(layers, config, horizon)

    monkeypatch.setattr(decoder, "FusedDecoder", Counted)
    return horizons


def test_weights_that_stay_are_packed_once(built_horizons: list[int]) -> None:
    network, batch = build_noisy(CONFIG), example_batch(CONFIG, 2)
    first = in_one_pass(network, batch)
    assert torch.equal(in_one_pass(network, batch).quantiles, first.quantiles)
    with torch.no_grad():
        network(batch)
    assert built_horizons == [CONFIG.horizon]


def through_data(network: TemporalFusionTransformer) -> None:
    network.attention.query.weight.data.mul_(2.0)  # no version counter moves


def through_memory(network: TemporalFusionTransformer) -> None:
    network.before_head.norm.weight.detach().numpy()[:] *= 2.0  # as the kernel of AdamW does


def by_another_tensor(network: TemporalFusionTransformer) -> None:
    network.enrich.hidden.weight = nn.Parameter(2.0 * network.enrich.hidden.weight.detach())


def by_another_module(network: TemporalFusionTransformer) -> None:
    network.after_recurrence = copy.deepcopy(network.after_recurrence)
    through_no_grad(network.after_recurrence.gate.projection.bias)


def by_loading(network: TemporalFusionTransformer) -> None:
    network.load_state_dict({name: 1.5 * weight for name, weight in network.state_dict().items()})


def by_training(network: TemporalFusionTransformer) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(example_batch(network.config, 2)).quantiles.sum().backward()
    optimizer.step()


def through_no_grad(weight: Tensor) -> None:
    with torch.no_grad():
        weight.add_(1.0)


def in_one_place(network: TemporalFusionTransformer) -> None:
    with torch.no_grad():
        network.recurrence.decoder.weight_hh_l0[3, 5] += 1.0


@pytest.mark.parametrize(
    "change",
    [through_data, through_memory, by_another_tensor, by_another_module, by_loading, by_training, in_one_place],
)
@pytest.mark.parametrize("width", [24, 32])
def test_weights_that_change_are_noticed_however_they_do(
    change: Callable[[TemporalFusionTransformer], None], width: int
) -> None:
    network = build_noisy(replace(CONFIG, hidden_size=width, num_heads=2))
    batch = example_batch(network.config, 3, missing=0.3)
    before = in_one_pass(network, batch)
    change(network)
    actual = in_one_pass(network, batch)
    assert not torch.allclose(actual.quantiles, before.quantiles, atol=1e-4)
    assert_same(actual, module_by_module(network, batch))


def test_another_horizon_has_another_decoder(built_horizons: list[int]) -> None:
    network, batch = build_noisy(CONFIG), example_batch(CONFIG, 2)
    whole = in_one_pass(network, batch)
    shorter = example_batch(replace(CONFIG, horizon=4), 2)
    assert_same(in_one_pass(network, shorter), module_by_module(network, shorter))
    assert torch.equal(in_one_pass(network, batch).quantiles, whole.quantiles)
    assert built_horizons == [9, 4, 9]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_of_a_network_that_has_forecast_do_not_share_memory(copied: Callable[..., nn.Module]) -> None:
    network, batch = build_noisy(CONFIG), example_batch(CONFIG, 2)
    expected = in_one_pass(network, batch).quantiles
    other = copied(network)
    assert torch.equal(in_one_pass(other, batch).quantiles, expected)
    through_no_grad(other.before_head.norm.bias)
    assert_same(in_one_pass(network, batch), module_by_module(network, batch))
    assert_same(in_one_pass(other, batch), module_by_module(other, batch))


def test_a_decoder_does_not_point_into_the_weights() -> None:
    """It may live longer than they do."""
    network = build_noisy(replace(CONFIG, hidden_size=32, num_heads=2))
    weights = {weight.data_ptr() for weight in network.parameters()}
    with torch.inference_mode():
        packed = network.fused_decoder(CONFIG.horizon).weights.tensors
    assert weights.isdisjoint(tensor.data_ptr() for tensor in packed)
