"""Initial weights: the variance of Glorot for each map, open forget gates, no other biases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.model.weights import CATEGORY_BOUND, INTERCEPT_BOUND, fill_glorot, initialize_weights

D, HEADS = 64, 4
CONFIG = ModelConfig(
    horizon=3,
    lookback=5,
    static_reals=1,
    static_categories=(40,),
    observed_reals=2,
    known_reals=3,
    known_categories=(30, 20),
    hidden_size=D,
    num_heads=HEADS,
    num_lstm_layers=2,
)


@pytest.fixture(scope="module")
def network() -> TemporalFusionTransformer:
    return build_initialized(CONFIG, seed=0)


def build_initialized(config: ModelConfig, seed: int) -> TemporalFusionTransformer:
    torch.manual_seed(seed)
    network = TemporalFusionTransformer(config)
    initialize_weights(network)
    return network


def assert_glorot(weight: torch.Tensor, d_in: int, d_out: int) -> None:
    weight, bound = weight.detach(), (6 / (d_in + d_out)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert weight.mean() == pytest.approx(0, abs=0.05 * bound)


def test_stacked_maps_are_drawn_separately(network: TemporalFusionTransformer) -> None:
    V = CONFIG.num_past
    assert_glorot(network.enrich.hidden.weight, D, D)
    assert_glorot(network.enrich.gate.projection.weight, D, D)  # value and gate
    assert_glorot(network.select_past.variables.hidden.weight, D, D)
    assert_glorot(network.select_past.variables.gate.weight, D, D)
    assert_glorot(network.select_past.joint.from_input.weight, V * D, D)
    assert_glorot(network.attention.query.weight, D, D // HEADS)
    assert_glorot(network.attention.key.weight, D, D // HEADS)
    assert_glorot(network.attention.value.weight, D, D // HEADS)
    assert_glorot(network.recurrence.encoder.weight_ih_l1, D, 4 * D)


def test_the_rows_of_many_maps_have_the_variance_of_one() -> None:
    torch.manual_seed(1)
    weight = torch.empty(5, 3 * 40, 50)
    fill_glorot(weight, maps=3)
    assert_glorot(weight, 50, 40)


def test_only_forget_gates_have_an_initial_bias(network: TemporalFusionTransformer) -> None:
    for module in network.modules():
        if isinstance(module, nn.LSTM):
            for _, from_state, input_bias, state_bias in module.all_weights:
                torch.testing.assert_close(from_state.T @ from_state, torch.eye(D), rtol=0, atol=1e-5)
                gates = (input_bias + state_bias).view(4, D)
                assert gates.sum(dim=1).tolist() == [0, D, 0, 0]  # torch's order: input, forget, cell, output
        elif getattr(module, "bias", None) is not None:
            assert not module.bias.any()


def test_embeddings_begin_near_zero_and_norms_as_the_identity(network: TemporalFusionTransformer) -> None:
    assert_glorot(network.embedding.real_weight, 1, D)
    assert 0.9 * INTERCEPT_BOUND < network.embedding.real_bias.abs().max() <= INTERCEPT_BOUND
    assert 0.9 * CATEGORY_BOUND < network.embedding.table.abs().max() <= CATEGORY_BOUND
    for name, parameter in network.named_parameters():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all()


def test_a_seed_determines_the_weights_and_linear_skips_begin_as_the_identity() -> None:
    config = replace(CONFIG, variable_skip="linear")
    states = [build_initialized(config, seed).state_dict() for seed in (2, 2, 3)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["enrich.hidden.weight"], states[2]["enrich.hidden.weight"])
    skip = states[0]["select_past.variables.skip_weight"]
    assert torch.equal(skip, torch.eye(D).expand_as(skip))
