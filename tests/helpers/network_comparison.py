"""Random configurations, and the comparison of a network with the reference: outputs, loss and gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tests.helpers.networks import as_dtype, build_network
from tests.helpers.reference_network import Reference, pinball
from torch import Tensor

from fusecast.model.batch import Batch, Output
from fusecast.model.config import ATTENTION_MASKS, VARIABLE_SKIPS, ModelConfig
from fusecast.model.losses import quantile_loss
from fusecast.model.tft import TemporalFusionTransformer

quietly = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
shares = st.sampled_from([0.0, 0.3, 0.7])
seeds = st.integers(0, 2**20)
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


def build_perturbed(config: ModelConfig, seed: int, dtype: torch.dtype = torch.float32) -> TemporalFusionTransformer:
    """Build a network whose norms and linear skips are no identities."""
    return build_network(config, seed, dtype=dtype, perturb="norm|skip_weight")


def run_network(network: TemporalFusionTransformer, batch: Batch) -> Result:
    output = network(batch)
    loss = quantile_loss(output.quantiles, batch.target, batch.target_mask, network.config.quantiles)
    return differentiate(output, loss, dict(network.named_parameters()))


def run_reference(network: TemporalFusionTransformer, batch: Batch) -> Result:
    parameters = {name: p.detach().double().requires_grad_() for name, p in network.named_parameters()}
    batch = as_dtype(batch, torch.float64)
    output = Reference(network.config, parameters)(batch)
    loss = pinball(output.quantiles, batch.target, batch.target_mask, network.config.quantiles)
    return differentiate(output, loss, parameters)


def differentiate(output: Output, loss: Tensor, parameters: dict[str, Tensor]) -> Result:
    # Weights and attention are differentiated as well: every entry has a factor of its own.
    total = loss
    for part in output:
        ramp = torch.linspace(-1, 1, part.numel(), dtype=part.dtype).view_as(part)
        total = total + (part * ramp).sum() / max(1, part.numel())
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    by_name = {
        name: torch.zeros_like(parameters[name]) if gradient is None else gradient
        for name, gradient in zip(parameters, gradients, strict=True)
    }
    return Result(output, loss, by_name)


def assert_same_result(actual: Result, expected: Result, tolerance: float) -> None:
    def assert_same(name: str, x: Tensor, y: Tensor) -> None:
        x, y = x.detach().double(), y.detach()
        largest = max(1.0, float(y.abs().max())) if y.numel() else 1.0  # sums of large terms round by their size
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * largest, msg=lambda text: f"{name}: {text}")

    assert_same("loss", actual.loss, expected.loss)
    for name, x, y in zip(Output._fields, actual.output, expected.output, strict=True):
        assert_same(name, x, y)
    assert actual.gradients.keys() == expected.gradients.keys()
    for name, gradient in actual.gradients.items():
        assert_same(f"gradient of {name}", gradient, expected.gradients[name])
