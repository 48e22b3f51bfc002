"""What the network promises beyond its equations: masks, causality, explanations, precision, structure."""

from __future__ import annotations

import pytest
import torch

from fusecast.batch import Batch
from fusecast.errors import ConfigError
from fusecast.model.config import ModelConfig
from fusecast.model.example import example_batch
from fusecast.model.losses import quantile_loss
from fusecast.model.tft import TemporalFusionTransformer

FULL = ModelConfig(
    horizon=4, lookback=6, static_reals=2, static_categories=(3,), observed_reals=2, observed_categories=(4,),
    known_reals=2, known_categories=(5,), hidden_size=8, num_heads=2, num_lstm_layers=2, dropout=0.0,
)  # fmt: skip
BARE = ModelConfig(horizon=4, lookback=6, hidden_size=8, num_heads=2, dropout=0.0)
GARBAGE = 1e6


def network_of(config: ModelConfig) -> TemporalFusionTransformer:
    torch.manual_seed(0)
    return TemporalFusionTransformer(config).double()


def batch_of(config: ModelConfig, *, missing: float = 0.0, size: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return example_batch(config, size, missing=missing, dtype=torch.float64, generator=generator)


def widen_masks(batch: Batch) -> Batch:
    """Write out the masks that say that nothing is missing."""
    ones = torch.ones_like
    return batch._replace(
        static_real_present=ones(batch.static_real, dtype=torch.bool),
        past_real_present=ones(batch.past_real, dtype=torch.bool),
        future_real_present=ones(batch.future_real, dtype=torch.bool),
        past_mask=ones(batch.past_real[..., 0], dtype=torch.bool),
        target_mask=ones(batch.target, dtype=torch.bool),
    )


def pad_left(batch: Batch, steps: int, value: float) -> Batch:
    def grow(x, fill):
        return torch.cat((torch.full_like(x[:, :1], fill).expand(-1, steps, *x.shape[2:]), x), dim=1)

    return batch._replace(
        past_real=grow(batch.past_real, value),
        past_cat=grow(batch.past_cat, 1),
        past_real_present=grow(batch.past_real_present, False),
        past_mask=grow(batch.past_mask, False),
    )


def drop_step(batch: Batch, step: int) -> Batch:
    def without(x):
        return torch.cat((x[:, :step], x[:, step + 1 :]), dim=1)

    return batch._replace(
        past_real=without(batch.past_real),
        past_cat=without(batch.past_cat),
        past_real_present=without(batch.past_real_present),
        past_mask=without(batch.past_mask),
    )


# --- masks ---------------------------------------------------------------------------------------------------------


def test_masks_that_hide_nothing_change_nothing():
    network, batch = network_of(FULL), batch_of(FULL)
    for plain, masked in zip(network(batch), network(widen_masks(batch)), strict=True):
        torch.testing.assert_close(masked, plain)


@pytest.mark.parametrize("config", [FULL, BARE])
@pytest.mark.parametrize("value", [0.0, GARBAGE])
def test_padding_on_the_left_changes_nothing(config, value):
    network, batch = network_of(config), widen_masks(batch_of(config))
    plain, padded = network(batch), network(pad_left(batch, 3, value))
    torch.testing.assert_close(padded.quantiles, plain.quantiles)
    torch.testing.assert_close(padded.attention[..., 3:], plain.attention)
    torch.testing.assert_close(padded.past_weights[:, 3:], plain.past_weights)
    assert not padded.attention[..., :3].any()
    assert not padded.past_weights[:, :3].any()


def test_unmasked_padding_would_change_the_forecast():
    network, batch = network_of(FULL), widen_masks(batch_of(FULL))
    padded = pad_left(batch, 3, 0.0)._replace(past_mask=torch.ones(3, 9, dtype=torch.bool))
    assert not torch.allclose(network(padded).quantiles, network(batch).quantiles)


@pytest.mark.parametrize("step", [0, 2, 5])
def test_a_masked_step_counts_as_if_it_were_not_there(step):
    network, batch = network_of(FULL), widen_masks(batch_of(FULL))
    mask = batch.past_mask.clone()
    mask[:, step] = False
    reals = batch.past_real.clone()
    reals[:, step] = GARBAGE
    masked = network(batch._replace(past_mask=mask, past_real=reals))
    torch.testing.assert_close(masked.quantiles, network(drop_step(batch, step)).quantiles)


def test_a_window_without_a_past_does_not_see_what_its_masked_steps_hold():
    network, batch = network_of(FULL), widen_masks(batch_of(FULL))
    mask = batch.past_mask.clone()
    mask[1] = False
    reals = batch.past_real.clone()
    reals[1] = GARBAGE
    first = network(batch._replace(past_mask=mask))
    second = network(batch._replace(past_mask=mask, past_real=reals))
    assert first.quantiles.isfinite().all()
    torch.testing.assert_close(second.quantiles, first.quantiles)
    loss = quantile_loss(second.quantiles, batch.target, batch.target_mask, FULL.quantiles)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_what_a_missing_value_holds_does_not_matter():
    network, batch = network_of(FULL), batch_of(FULL, missing=0.4)
    dirty = batch._replace(
        static_real=batch.static_real.masked_fill(~batch.static_real_present, GARBAGE),
        past_real=batch.past_real.masked_fill(~batch.past_real_present, -GARBAGE),
        future_real=batch.future_real.masked_fill(~batch.future_real_present, GARBAGE),
    )
    assert not torch.equal(dirty.past_real, batch.past_real)
    for clean, other in zip(network(batch), network(dirty), strict=True):
        assert torch.equal(clean, other)


def test_a_present_value_does_matter():
    network, batch = network_of(FULL), batch_of(FULL, missing=0.4)
    other = batch._replace(past_real=batch.past_real + batch.past_real_present)
    assert not torch.allclose(network(other).quantiles, network(batch).quantiles)


def test_a_missing_value_is_not_the_same_as_a_zero():
    network, batch = network_of(FULL), widen_masks(batch_of(FULL))
    reals, present = batch.past_real.clone(), batch.past_real_present.clone()
    reals[..., 1] = 0.0
    present[..., 1] = False
    zero = network(batch._replace(past_real=reals))
    missing = network(batch._replace(past_real=reals, past_real_present=present))
    assert not torch.allclose(missing.quantiles, zero.quantiles)
    assert not missing.past_weights[..., 1].any()


@pytest.mark.parametrize("config", [FULL, BARE])
def test_nothing_present_at_all_stays_finite_forward_and_backward(config):
    network, batch = network_of(config), widen_masks(batch_of(config))
    nothing = batch._replace(
        static_real_present=torch.zeros_like(batch.static_real_present),
        past_real_present=torch.zeros_like(batch.past_real_present),
        future_real_present=torch.zeros_like(batch.future_real_present),
    )
    output = network(nothing)
    assert all(part.isfinite().all() for part in output)
    output.quantiles.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


# --- causality -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("step", range(FULL.horizon))
def test_a_known_input_changes_the_forecast_of_its_step_and_later_ones_only(step, missing):
    network, batch = network_of(FULL), batch_of(FULL, missing=missing)
    future = batch.future_real.clone()
    future[:, step] += 1.0
    before, after = network(batch).quantiles, network(batch._replace(future_real=future)).quantiles
    assert torch.equal(after[:, :step], before[:, :step])
    shown = batch.future_real_present[:, step].any(dim=-1) if missing else torch.ones(3, dtype=torch.bool)
    assert shown.any()
    assert (after[shown, step:] != before[shown, step:]).all()


def test_windows_do_not_see_each_other():
    network, batch = network_of(FULL), batch_of(FULL, missing=0.3)
    one = Batch(*(x[1:2] for x in batch))
    torch.testing.assert_close(network(one).quantiles, network(batch).quantiles[1:2])


# --- explanations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_attention_and_selection_weights_are_shares(missing):
    network, batch = network_of(FULL).train(), batch_of(FULL, missing=missing)
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
    attention = network_of(FULL)(batch_of(FULL)).attention
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
    network, batch = network_of(config), batch_of(config, missing=missing, size=8)
    output = network(batch)
    quantile_loss(output.quantiles, batch.target, batch.target_mask, config.quantiles).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]
    assert [name for name, p in network.named_parameters() if not p.grad.any()] == idle


def test_the_horizon_is_that_of_the_batch():
    network = network_of(BARE)
    batch = batch_of(ModelConfig(**(BARE.to_dict() | {"horizon": 7, "lookback": 3})))
    assert network(batch).quantiles.shape == (3, 7, 1, 3)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("past_real", "past_real has width 5, and this network was made for width 4 there"),
        ("static_cat", "static_cat has width 2, and this network was made for width 1 there"),
        ("past_mask", "past_mask has width 7, and this network was made for width 6, or 0 for nothing missing, there"),
    ],
)
def test_a_batch_with_other_variables_is_refused_in_words(field, words):
    batch = widen_masks(batch_of(FULL))
    tensor = getattr(batch, field)
    wider = torch.cat((tensor, tensor[..., :1]), dim=-1)
    with pytest.raises(ConfigError, match=words):
        network_of(FULL)(batch._replace(**{field: wider}))


def test_dropout_acts_in_training_only():
    network, batch = network_of(ModelConfig(**(FULL.to_dict() | {"dropout": 0.5}))), batch_of(FULL)
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
    network, batch = network_of(FULL).float(), batch_of(FULL, missing=missing)
    batch = Batch(*(x.float() if x.is_floating_point() else x for x in batch))
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
    network, example = network_of(FULL).eval(), batch_of(FULL, size=3)
    size = torch.export.Dim("size", min=2, max=64)
    program = torch.export.export(network, (example,), dynamic_shapes=(Batch(*({0: size} for _ in example)),))
    other = batch_of(FULL, size=5)
    # torch 2.13 writes its guards wrongly where one field's name begins with another's: static_real(_present).
    exported = program.module(check_guards=False)
    torch.testing.assert_close(exported(other).quantiles, network(other).quantiles)
