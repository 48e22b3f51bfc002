"""What is masked never influences an output, and what is not masked does."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.networks import BARE, FULL, GARBAGE, build_network, draw_batch, drop_step, pad_left, widen_masks

from fusecast.model.losses import quantile_loss


def test_masks_that_hide_nothing_change_nothing():
    network, batch = build_network(FULL), draw_batch(FULL)
    for plain, masked in zip(network(batch), network(widen_masks(batch)), strict=True):
        torch.testing.assert_close(masked, plain)


@pytest.mark.parametrize("config", [FULL, BARE])
@pytest.mark.parametrize("value", [0.0, GARBAGE])
def test_padding_on_the_left_changes_nothing(config, value):
    network, batch = build_network(config), widen_masks(draw_batch(config))
    plain, padded = network(batch), network(pad_left(batch, 3, value))
    torch.testing.assert_close(padded.quantiles, plain.quantiles)
    torch.testing.assert_close(padded.attention[..., 3:], plain.attention)
    torch.testing.assert_close(padded.past_weights[:, 3:], plain.past_weights)
    assert not padded.attention[..., :3].any()
    assert not padded.past_weights[:, :3].any()


def test_unmasked_padding_would_change_the_forecast():
    network, batch = build_network(FULL), widen_masks(draw_batch(FULL))
    padded = pad_left(batch, 3, 0.0)._replace(past_mask=torch.ones(3, 9, dtype=torch.bool))
    assert not torch.allclose(network(padded).quantiles, network(batch).quantiles)


@pytest.mark.parametrize("step", [0, 2, 5])
def test_a_masked_step_counts_as_if_it_were_not_there(step):
    network, batch = build_network(FULL), widen_masks(draw_batch(FULL))
    mask = batch.past_mask.clone()
    mask[:, step] = False
    reals = batch.past_real.clone()
    reals[:, step] = GARBAGE
    masked = network(batch._replace(past_mask=mask, past_real=reals))
    torch.testing.assert_close(masked.quantiles, network(drop_step(batch, step)).quantiles)


def test_a_window_without_a_past_does_not_see_what_its_masked_steps_hold():
    network, batch = build_network(FULL), widen_masks(draw_batch(FULL))
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
    network, batch = build_network(FULL), draw_batch(FULL, missing=0.4)
    dirty = batch._replace(
        static_real=batch.static_real.masked_fill(~batch.static_real_present, GARBAGE),
        past_real=batch.past_real.masked_fill(~batch.past_real_present, -GARBAGE),
        future_real=batch.future_real.masked_fill(~batch.future_real_present, GARBAGE),
    )
    assert not torch.equal(dirty.past_real, batch.past_real)
    for clean, other in zip(network(batch), network(dirty), strict=True):
        assert torch.equal(clean, other)


def test_a_present_value_does_matter():
    network, batch = build_network(FULL), draw_batch(FULL, missing=0.4)
    other = batch._replace(past_real=batch.past_real + batch.past_real_present)
    assert not torch.allclose(network(other).quantiles, network(batch).quantiles)


def test_a_missing_value_is_not_the_same_as_a_zero():
    network, batch = build_network(FULL), widen_masks(draw_batch(FULL))
    reals, present = batch.past_real.clone(), batch.past_real_present.clone()
    reals[..., 1] = 0.0
    present[..., 1] = False
    zero = network(batch._replace(past_real=reals))
    missing = network(batch._replace(past_real=reals, past_real_present=present))
    assert not torch.allclose(missing.quantiles, zero.quantiles)
    assert not missing.past_weights[..., 1].any()


@pytest.mark.parametrize("config", [FULL, BARE])
def test_nothing_present_at_all_stays_finite_forward_and_backward(config):
    network, batch = build_network(config), widen_masks(draw_batch(config))
    nothing = batch._replace(
        static_real_present=torch.zeros_like(batch.static_real_present),
        past_real_present=torch.zeros_like(batch.past_real_present),
        future_real_present=torch.zeros_like(batch.future_real_present),
    )
    output = network(nothing)
    assert all(part.isfinite().all() for part in output)
    output.quantiles.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
