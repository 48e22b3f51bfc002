"""What the network promises beyond its equations: causality, explanations, precision, structure."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.networks import BARE, FULL, as_dtype, build_network, draw_batch, widen_masks

from fusecast.errors import ConfigError
from fusecast.model.batch import Batch
from fusecast.model.config import ModelConfig
from fusecast.model.losses import quantile_loss
from fusecast.model.tft import TemporalFusionTransformer

# --- causality -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("step", range(FULL.horizon))
def test_a_known_input_changes_the_forecast_of_its_step_and_later_ones_only(step, missing):
    network, batch = build_network(FULL), draw_batch(FULL, missing=missing)
    future = batch.future_real.clone()
    future[:, step] += 1.0
    before, after = network(batch).quantiles, network(batch._replace(future_real=future)).quantiles
    assert torch.equal(after[:, :step], before[:, :step])
    shown = batch.future_real_present[:, step].any(dim=-1) if missing else torch.ones(3, dtype=torch.bool)
    assert shown.any()
    assert (after[shown, step:] != before[shown, step:]).all()


def test_windows_do_not_see_each_other():
    network, batch = build_network(FULL), draw_batch(FULL, missing=0.3)
    one = Batch(*(x[1:2] for x in batch))
    torch.testing.assert_close(network(one).quantiles, network(batch).quantiles[1:2])


# --- explanations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_attention_and_selection_weights_are_shares(missing):
    network, batch = build_network(FULL).train(), draw_batch(FULL, missing=missing)
    output = network(batch)
    valid = batch.past_mask if missing else torch.ones(3, FULL.lookback, dtype=torch.bool)

    def sums_to(weights, expected):
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(dim=-1), expected.to(weights.dtype))

    sums_to(output.attention, torch.ones(3, FULL.horizon))
    sums_to(output.static_weights, torch.ones(3))
    sums_to(output.future_weights, torch.ones(3, FULL.horizon))
    sums_to(output.past_weights, valid)


def test_attention_never_looks_ahead():
    attention = build_network(FULL)(draw_batch(FULL)).attention
    step = torch.arange(FULL.horizon)
    ahead = FULL.lookback + step > FULL.lookback + step.unsqueeze(-1)
    future = attention[..., FULL.lookback :]
    assert not future[:, ahead].any()
    assert future[:, ~ahead].all()


# --- structure -----------------------------------------------------------------------------------------------------


def test_without_statics_there_are_no_context_parameters():
    names = [name for name, _ in TemporalFusionTransformer(BARE).named_parameters()]
    assert not [name for name in names if "context" in name or "static" in name]
    assert [name for name, _ in TemporalFusionTransformer(FULL).named_parameters() if "context" in name]


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({}, []),
        ({"static_reals": 0, "static_categories": ()}, []),
        # With nothing known the decoder has no input but its state, so this one weight has nothing to multiply.
        ({"known_reals": 0, "known_categories": ()}, ["recurrence.decoder.weight_ih_l0"]),
    ],
)
def test_every_parameter_is_trained(changes, idle, missing):
    config = ModelConfig(**(FULL.to_dict() | changes))
    network, batch = build_network(config), draw_batch(config, 8, missing=missing)
    output = network(batch)
    quantile_loss(output.quantiles, batch.target, batch.target_mask, config.quantiles).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]
    assert [name for name, p in network.named_parameters() if not p.grad.any()] == idle


def test_the_horizon_is_that_of_the_batch():
    network = build_network(BARE)
    batch = draw_batch(ModelConfig(**(BARE.to_dict() | {"horizon": 7, "lookback": 3})))
    assert network(batch).quantiles.shape == (3, 7, 1, 3)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("past_real", "past_real of the batch has width 5, and the network expects width 4"),
        ("static_cat", "static_cat of the batch has width 2, and the network expects width 1"),
        ("past_mask", "past_mask of the batch has width 7, and the network expects width 6, or 0 for nothing missing"),
    ],
)
def test_a_batch_with_other_variables_is_refused_in_words(field, words):
    batch = widen_masks(draw_batch(FULL))
    tensor = getattr(batch, field)
    wider = torch.cat((tensor, tensor[..., :1]), dim=-1)
    with pytest.raises(ConfigError, match=words):
        build_network(FULL)(batch._replace(**{field: wider}))


def test_a_tensor_is_no_batch():
    with pytest.raises(ConfigError, match=r"reads a Batch of windows, not a Tensor\nHint: .*example_batch"):
        build_network(FULL)(torch.zeros(3, 6, 4))


def test_dropout_acts_in_training_only():
    network, batch = build_network(ModelConfig(**(FULL.to_dict() | {"dropout": 0.5}))), draw_batch(FULL)
    assert not torch.equal(network(batch).quantiles, network(batch).quantiles)
    network.eval()
    assert torch.equal(network(batch).quantiles, network(batch).quantiles)


def test_stacked_weights_start_like_those_of_separate_layers():
    torch.manual_seed(0)
    config = ModelConfig(horizon=1, lookback=1, observed_reals=40, hidden_size=16)
    variables = TemporalFusionTransformer(config).select_past.variables
    for stacked in (variables.from_input, variables.hidden, variables.gate):
        for parameter in (stacked.weight, stacked.bias):
            assert parameter.abs().max() <= 1 / 4
            torch.testing.assert_close(parameter.std(), torch.tensor(0.25 / 3**0.5), rtol=0.05, atol=0)


# --- precision and export ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_bfloat16_autocast_gives_nearly_the_same_forecast_and_finite_gradients(missing):
    network, batch = build_network(FULL).float(), draw_batch(FULL, missing=missing)
    batch = as_dtype(batch, torch.float32)
    full = network(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(batch)
        loss = quantile_loss(half.quantiles, batch.target, batch.target_mask, FULL.quantiles)
    assert half.quantiles.dtype == torch.float32
    torch.testing.assert_close(half.quantiles, full.quantiles, rtol=0.05, atol=0.05)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


# nn.LSTM keeps its weights in a list of its own, which torch.export meets with a warning; the result is checked here.
@pytest.mark.filterwarnings("ignore:The tensor attributes self.recurrence:UserWarning")
def test_network_can_be_exported_with_a_batch_size_left_open():
    network, example = build_network(FULL).eval(), draw_batch(FULL, 3)
    size = torch.export.Dim("size", min=2, max=64)
    program = torch.export.export(network, (example,), dynamic_shapes=(Batch(*({0: size} for _ in example)),))
    other = draw_batch(FULL, 5)
    # torch 2.13 writes its guards wrongly where one field's name begins with another's: static_real(_present).
    exported = program.module(check_guards=False)
    torch.testing.assert_close(exported(other).quantiles, network(other).quantiles)
