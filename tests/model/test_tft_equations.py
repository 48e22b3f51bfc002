"""The fast network and the paper's equations give the same numbers, forward and backward."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from tests.helpers.network_comparison import (
    assert_same_result,
    build_perturbed,
    configs,
    quietly,
    run_network,
    run_reference,
    seeds,
    shares,
    switches,
)
from tests.helpers.networks import draw_batch

from fusecast.model import variable_selection
from fusecast.model.config import ModelConfig

DOUBLE = torch.float64


@quietly
@given(config=configs(), missing=shares, seed=seeds)
def test_network_agrees_with_the_papers_equations_on_random_configurations(config, missing, seed):
    network = build_perturbed(config, seed, DOUBLE)
    batch = draw_batch(config, 2, missing=missing, seed=seed)
    assert_same_result(run_network(network, batch), run_reference(network, batch), 1e-10)


# A layer norm over two numbers that happen to be close multiplies what float32 rounds away by up to 1 / sqrt(1e-5), in
# any program. So tiny networks, and the selection among exactly two variables, are compared in float64 only.
@quietly
@given(config=configs(smallest_head=4), missing=shares, seed=seeds)
def test_network_in_single_precision_agrees_with_the_papers_equations(config, missing, seed):
    assume(2 not in (config.num_static, config.num_past, config.num_future))
    network = build_perturbed(config, seed)
    batch = draw_batch(config, 2, missing=missing, dtype=torch.float32, seed=seed)
    assert_same_result(run_network(network, batch), run_reference(network, batch), 1e-5)


@quietly
@given(config=configs(), switched=switches, missing=shares, seed=seeds)
def test_network_with_switches_set_otherwise_agrees_with_the_equations_so_changed(config, switched, missing, seed):
    config = replace(config, **switched)
    network = build_perturbed(config, seed, DOUBLE)
    batch = draw_batch(config, 2, missing=missing, seed=seed)
    assert_same_result(run_network(network, batch), run_reference(network, batch), 1e-10)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_network_agrees_with_the_papers_equations_on_every_kind_of_input_at_once(missing):
    config = ModelConfig(
        horizon=3, lookback=6, num_targets=2, static_reals=2, static_categories=(3, 2), observed_reals=3,
        observed_categories=(4,), known_reals=2, known_categories=(5, 2), hidden_size=8, num_heads=2,
        num_lstm_layers=2, dropout=0.0,
    )  # fmt: skip
    network = build_perturbed(config, 1)
    batch = draw_batch(config, missing=missing, dtype=torch.float32, seed=2)
    assert_same_result(run_network(network, batch), run_reference(network, batch), 1e-5)


def test_long_category_tables_are_looked_up_before_they_are_mapped_with_the_same_result(monkeypatch):
    config = ModelConfig(
        horizon=2, lookback=3, static_categories=(3,), observed_categories=(4, 2), known_categories=(3,), hidden_size=4,
        num_heads=2, dropout=0.0,
    )  # fmt: skip
    network = build_perturbed(config, 3)
    batch = draw_batch(config, missing=0.3, dtype=torch.float32, seed=4)
    monkeypatch.setattr(variable_selection, "MAX_FOLDED_ROWS", 0)
    assert_same_result(run_network(network, batch), run_reference(network, batch), 1e-5)


@pytest.mark.parametrize(
    "name", ["select_past.variables.norm.weight", "recurrence.decoder.bias_hh_l0", "embedding.table"]
)
def test_the_comparison_notices_a_parameter_that_is_off(name):
    config = ModelConfig(horizon=2, lookback=3, known_categories=(3,), hidden_size=4, num_heads=2, dropout=0.0)
    network = build_perturbed(config, 5)
    batch = draw_batch(config, dtype=torch.float32, seed=6)
    expected = run_reference(network, batch)
    with torch.no_grad():
        network.get_parameter(name).add_(1e-2)
    with pytest.raises(AssertionError, match="loss"):
        assert_same_result(run_network(network, batch), expected, 1e-5)
