"""The fast network and the paper's equations give the same numbers, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.helpers.reference_network import Reference, pinball
from torch import Tensor

from fusecast.model import variable_selection as selection
from fusecast.model.batch import Batch, Output, example_batch
from fusecast.model.config import ATTENTION_MASKS, VARIABLE_SKIPS, ModelConfig
from fusecast.model.losses import quantile_loss
from fusecast.model.tft import TemporalFusionTransformer

DOUBLE = torch.float64

cardinalities = st.lists(st.integers(1, 4), max_size=2).map(tuple)


switches = st.fixed_dictionaries(
    {
        "layer_norm_eps": st.sampled_from([1e-5, 1e-3]),
        "attention_bias": st.booleans(),
        "attention_mask": st.sampled_from(ATTENTION_MASKS),
        "variable_skip": st.sampled_from(VARIABLE_SKIPS),
        "selection_skip_norm": st.booleans(),
        "contexts_without_static": st.booleans(),
    }
)


@st.composite
def configs(draw: st.DrawFn, smallest_head: int = 1) -> ModelConfig:
    num_heads = draw(st.sampled_from([1, 2, 3]))
    num_targets = draw(st.integers(1, 2))
    return ModelConfig(
        horizon=draw(st.integers(1, 3)),
        lookback=draw(st.integers(1, 4)),
        quantiles=draw(st.sampled_from([(0.5,), (0.1, 0.5, 0.9), (0.05, 0.3)])),
        num_targets=num_targets,
        static_reals=draw(st.integers(0, 2)),
        static_categories=draw(cardinalities),
        observed_reals=num_targets + draw(st.integers(0, 1)),
        observed_categories=draw(cardinalities),
        known_reals=draw(st.integers(0, 2)),
        known_categories=draw(cardinalities),
        hidden_size=num_heads * draw(st.integers(smallest_head, smallest_head + 2)),
        num_heads=num_heads,
        num_lstm_layers=draw(st.integers(1, 2)),
        dropout=0.0,
    )


@dataclass
class Result:
    output: Output
    loss: Tensor
    gradients: dict[str, Tensor]


def as_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    return Batch(*(x.to(dtype) if x.is_floating_point() else x for x in batch))


def network_of(config: ModelConfig, seed: int) -> TemporalFusionTransformer:
    """Make a network whose norms are no identities: a wrong gain or shift would go unseen otherwise."""
    torch.manual_seed(seed)
    network = TemporalFusionTransformer(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name or "skip_weight" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def run_network(network: TemporalFusionTransformer, batch: Batch) -> Result:
    output = network(batch)
    loss = quantile_loss(output.quantiles, batch.target, batch.target_mask, network.config.quantiles)
    return finish(output, loss, dict(network.named_parameters()))


def run_reference(network: TemporalFusionTransformer, batch: Batch) -> Result:
    parameters = {name: p.detach().double().requires_grad_() for name, p in network.named_parameters()}
    batch = as_dtype(batch, DOUBLE)
    output = Reference(network.config, parameters)(batch)
    loss = pinball(output.quantiles, batch.target, batch.target_mask, network.config.quantiles)
    return finish(output, loss, parameters)


def finish(output: Output, loss: Tensor, parameters: dict[str, Tensor]) -> Result:
    # What explains the forecast is differentiated as well: a weight of its own for every entry.
    everything = loss
    for part in output:
        ramp = torch.linspace(-1, 1, part.numel(), dtype=part.dtype).view_as(part)
        everything = everything + (part * ramp).sum() / max(1, part.numel())
    gradients = torch.autograd.grad(everything, list(parameters.values()), allow_unused=True)
    found = {
        name: torch.zeros_like(parameters[name]) if gradient is None else gradient
        for name, gradient in zip(parameters, gradients, strict=True)
    }
    return Result(output, loss, found)


def assert_same(found: Result, expected: Result, tolerance: float) -> None:
    def same(name: str, x: Tensor, y: Tensor) -> None:
        x, y = x.detach().double(), y.detach()
        largest = max(1.0, float(y.abs().max())) if y.numel() else 1.0  # sums of large terms round by their size
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * largest, msg=lambda text: f"{name}: {text}")

    same("loss", found.loss, expected.loss)
    for name, x, y in zip(Output._fields, found.output, expected.output, strict=True):
        same(name, x, y)
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in found.gradients.items():
        same(f"gradient of {name}", gradient, expected.gradients[name])


quietly = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
shares = st.sampled_from([0.0, 0.3, 0.7])
seeds = st.integers(0, 2**20)


@quietly
@given(config=configs(), missing=shares, seed=seeds)
def test_network_agrees_with_the_papers_equations_on_random_configurations(config, missing, seed):
    network = network_of(config, seed).double()
    batch = as_dtype(example_batch(config, 2, missing=missing, generator=torch.Generator().manual_seed(seed)), DOUBLE)
    assert_same(run_network(network, batch), run_reference(network, batch), 1e-10)


# A layer norm over two numbers that happen to be close multiplies what float32 rounds away by up to 1 / sqrt(1e-5), in
# any program. So tiny networks, and the selection among exactly two variables, are compared in float64 only.
@quietly
@given(config=configs(smallest_head=4), missing=shares, seed=seeds)
def test_network_in_single_precision_agrees_with_the_papers_equations(config, missing, seed):
    assume(2 not in (config.num_static, config.num_past, config.num_future))
    network = network_of(config, seed)
    batch = example_batch(config, 2, missing=missing, generator=torch.Generator().manual_seed(seed))
    assert_same(run_network(network, batch), run_reference(network, batch), 1e-5)


@quietly
@given(config=configs(), switched=switches, missing=shares, seed=seeds)
def test_network_with_switches_set_otherwise_agrees_with_the_equations_so_changed(config, switched, missing, seed):
    config = replace(config, **switched)
    network = network_of(config, seed).double()
    batch = as_dtype(example_batch(config, 2, missing=missing, generator=torch.Generator().manual_seed(seed)), DOUBLE)
    assert_same(run_network(network, batch), run_reference(network, batch), 1e-10)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_network_agrees_with_the_papers_equations_on_every_kind_of_input_at_once(missing):
    config = ModelConfig(
        horizon=3, lookback=6, num_targets=2, static_reals=2, static_categories=(3, 2), observed_reals=3,
        observed_categories=(4,), known_reals=2, known_categories=(5, 2), hidden_size=8, num_heads=2,
        num_lstm_layers=2, dropout=0.0,
    )  # fmt: skip
    network = network_of(config, 1)
    batch = example_batch(config, 3, missing=missing, generator=torch.Generator().manual_seed(2))
    assert_same(run_network(network, batch), run_reference(network, batch), 1e-5)


def test_long_category_tables_are_looked_up_before_they_are_mapped_with_the_same_result(monkeypatch):
    config = ModelConfig(
        horizon=2, lookback=3, static_categories=(3,), observed_categories=(4, 2), known_categories=(3,), hidden_size=4,
        num_heads=2, dropout=0.0,
    )  # fmt: skip
    network = network_of(config, 3)
    batch = example_batch(config, 3, missing=0.3, generator=torch.Generator().manual_seed(4))
    monkeypatch.setattr(selection, "FOLD_ROWS_UP_TO", 0)
    assert_same(run_network(network, batch), run_reference(network, batch), 1e-5)


@pytest.mark.parametrize(
    "name", ["select_past.variables.norm.weight", "recurrence.decoder.bias_hh_l0", "embedding.table"]
)
def test_the_comparison_notices_a_parameter_that_is_off(name):
    config = ModelConfig(horizon=2, lookback=3, known_categories=(3,), hidden_size=4, num_heads=2, dropout=0.0)
    network = network_of(config, 5)
    batch = example_batch(config, 3, generator=torch.Generator().manual_seed(6))
    expected = run_reference(network, batch)
    with torch.no_grad():
        network.get_parameter(name).add_(1e-2)
    with pytest.raises(AssertionError, match="loss"):
        assert_same(run_network(network, batch), expected, 1e-5)
