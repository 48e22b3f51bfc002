"""The kernels compute what the plain network computes, and their dropout is dropout."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from tests.helpers.network_comparison import (
    Result,
    assert_same_result,
    build_perturbed,
    configs,
    quietly,
    run_network,
    run_reference,
    seeds,
    shares,
)
from tests.helpers.networks import as_dtype
from torch import Tensor

from fusecast.kernels.attention import attend
from fusecast.kernels.grn import gated_rows
from fusecast.kernels.library import call, library
from fusecast.model import attention, gating, lstm, variable_selection
from fusecast.model.batch import example_batch
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

pytestmark = pytest.mark.skipif(library() is None, reason="no C compiler here, or FUSECAST_KERNELS=0")

WIDE = ModelConfig(
    horizon=5, lookback=29, num_targets=2, static_reals=2, static_categories=(3, 7), observed_reals=3,
    observed_categories=(4,), known_reals=2, known_categories=(5, 2), hidden_size=40, num_heads=4, num_lstm_layers=2,
    dropout=0.0,
)  # fmt: skip
KERNELS = ("grn", "variable_selection", "lstm", "attention")


def without_kernels(patch: pytest.MonkeyPatch) -> None:
    for module in (attention, gating, lstm, variable_selection):
        patch.setattr(module, "kernels_supported", lambda *_: False)


@quietly
@given(config=configs(smallest_head=4), missing=shares, seed=seeds)
def test_the_plain_network_agrees_with_the_papers_equations_in_single_precision_too(config, missing, seed):
    assume(2 not in (config.num_static, config.num_past, config.num_future))
    network = build_perturbed(config, seed)
    batch = example_batch(config, 2, missing=missing, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        without_kernels(patch)
        actual = run_network(network, batch)
    assert_same_result(actual, run_reference(network, batch), 1e-5)


def test_the_network_uses_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for module in KERNELS:
        name = f"fusecast.kernels.{module}.call"
        monkeypatch.setattr(name, lambda name, arguments: called.append(name) or call(name, arguments))
    run_network(build_perturbed(WIDE, 0), example_batch(WIDE, 2))
    assert set(called) == {f"{module}_{way}" for module in KERNELS for way in ("forward", "backward")}


@pytest.mark.parametrize("hidden", [24, 40, 64, 160])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("threads", [1, 3])
def test_widths_that_fill_tiles_and_widths_that_do_not_give_what_the_plain_network_gives(
    hidden: int, missing: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(WIDE, hidden_size=hidden)
    network, batch = build_perturbed(config, 1), example_batch(config, 5, missing=missing)
    torch.set_num_threads(threads)
    actual = run_network(network, batch)
    without_kernels(monkeypatch)
    plain = run_network(network.double(), as_dtype(batch, torch.float64))
    assert_same_result(actual, Result(plain.output, plain.loss, plain.gradients), 1e-5)


def test_the_same_seed_gives_the_same_numbers_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = build_perturbed(replace(WIDE, dropout=0.3), 2).train(), example_batch(WIDE, 4, missing=0.2)
    torch.set_num_threads(2)
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(run_network(network, batch))
    first, second, other = results
    assert all(torch.equal(x, second.gradients[name]) for name, x in first.gradients.items())
    assert torch.equal(first.output.quantiles, second.output.quantiles)
    assert not torch.equal(first.output.quantiles, other.output.quantiles)


def test_dropout_does_not_depend_on_the_number_of_threads() -> None:
    network, batch = build_perturbed(replace(WIDE, dropout=0.3), 2).train(), example_batch(WIDE, 4)
    outputs = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        outputs.append(network(batch).quantiles)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)


def dropped(share: float, rows: int, d: int) -> Tensor:
    """Return which entries of a plain gate's input are dropped: bool [rows, d].

    The gate is open, so that the norm gets ones and zeros: what was kept lies above what was dropped.
    """
    parameters = [None, None, torch.cat((torch.eye(d), torch.zeros(d, d))), torch.zeros(2 * d), torch.ones(d)]
    parameters[3][d:] = 50.0
    y = gated_rows(torch.ones(rows, d), torch.zeros(rows, d), None, [*parameters, torch.zeros(d)], share, 1e-5)
    return y < 0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_each_entry_is_dropped_with_the_requested_share_and_independently(share: float) -> None:
    torch.manual_seed(0)
    rows, d = 20_000, 48
    mask = dropped(share, rows, d).double()
    error = math.sqrt(share * (1 - share))
    assert abs(mask.mean() - share) < 4 * error / math.sqrt(rows * d)
    assert ((mask.mean(dim=0) - share).abs() < 5 * error / math.sqrt(rows)).all()
    assert abs(mask.sum(dim=1).var() / (d * share * (1 - share)) - 1) < 0.05, "entries of a row are correlated"
    correlations = torch.corrcoef(mask.T) - torch.eye(d)
    assert correlations.abs().max() < 5.5 / math.sqrt(rows)
    for lag in (1, 2, 7):
        together = ((mask[lag:] - share) * (mask[:-lag] - share)).mean() / error**2
        assert abs(together) < 5 / math.sqrt(rows * d), "rows are correlated"


def test_every_call_drops_other_entries() -> None:
    torch.manual_seed(0)
    masks = [dropped(0.5, 500, 32).double() - 0.5 for _ in range(3)]
    for one, other in itertools.combinations(masks, 2):
        assert abs((4 * one * other).mean()) < 5 / math.sqrt(500 * 32)


def test_what_is_kept_is_scaled_up_and_gradients_flow_through_it_alone() -> None:
    torch.manual_seed(3)
    d, rows, share = 32, 200, 0.3
    gate = gating.GateAddNorm(d, dropout=share).train()
    with torch.no_grad():
        gate.norm.weight.add_(0.3 * torch.randn(d))
    x, residual, weight = torch.randn(rows, d, requires_grad=True), torch.randn(rows, d), torch.randn(rows, d)
    torch.manual_seed(11)
    keep = (~dropped(share, rows, d)).double() * 65536 / (65536 - round(share * 65536))
    torch.manual_seed(11)
    actual = gate(x, residual)
    (gradient,) = torch.autograd.grad((actual * weight).sum(), x)

    gate.double().eval()
    exact = gate.norm(residual.double() + torch.nn.functional.glu(gate.gate.projection(x.double() * keep)))
    (expected,) = torch.autograd.grad((exact * weight.double()).sum(), x)
    torch.testing.assert_close(actual.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_a_network_with_dropout_has_the_gradient_of_what_it_computes() -> None:
    """With its seed fixed, the network is a smooth function: its slope along a direction is a difference quotient."""
    config = replace(WIDE, dropout=0.25, hidden_size=16)
    network, batch = build_perturbed(config, 4).train(), example_batch(config, 3, missing=0.2)
    direction = [torch.randn_like(p) for p in network.parameters()]

    def loss() -> Tensor:
        torch.manual_seed(9)
        return network(batch).quantiles.double().square().mean()

    @torch.no_grad()
    def loss_after(step: float) -> Tensor:
        for p, towards in zip(network.parameters(), direction, strict=True):
            p.add_(step * towards)
        value = loss()
        for p, towards in zip(network.parameters(), direction, strict=True):
            p.sub_(step * towards)
        return value

    gradients = torch.autograd.grad(loss(), list(network.parameters()), allow_unused=True)
    slope = sum((g * v).sum() for g, v in zip(gradients, direction, strict=True) if g is not None)
    size = 1e-4
    quotient = (loss_after(size) - loss_after(-size)) / (2 * size)
    torch.testing.assert_close(slope.double(), quotient, rtol=2e-3, atol=1e-4)


def test_the_returned_mean_attention_is_that_before_dropout() -> None:
    query, keys_and_value = torch.randn(2, 3, 2, 4), torch.randn(2, 7, 3 * 4)
    with_dropout = attend(query, keys_and_value, None, ahead=1, dropout=0.5)
    without = attend(query, keys_and_value, None, ahead=1, dropout=0.0)
    assert torch.equal(with_dropout[1], without[1])
    assert not torch.allclose(with_dropout[0], without[0])


def test_nan_stays_in_its_window() -> None:
    network, batch = build_perturbed(WIDE, 0), example_batch(WIDE, 3)
    batch.past_real[1, 4, 0] = math.nan
    quantiles = network(batch).quantiles
    assert quantiles[1].isnan().all()
    assert quantiles[[0, 2]].isfinite().all()


def test_gradients_can_be_taken_twice_from_one_forward_pass() -> None:
    network, batch = build_perturbed(WIDE, 0), example_batch(WIDE, 3)
    loss = network(batch).quantiles.square().sum()
    once = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    again = torch.autograd.grad(loss, list(network.parameters()))
    assert all(torch.equal(x, y) for x, y in zip(once, again, strict=True))


@pytest.mark.parametrize("code", [-1, 5, 10**9])
def test_a_code_without_a_row_is_refused(code: int) -> None:
    config = ModelConfig(horizon=2, lookback=3, known_categories=(5, 9), hidden_size=8, num_heads=2)
    batch = example_batch(config, 2)
    codes = batch.past_cat.clone()
    codes[0, 0, 0] = code
    with pytest.raises(IndexError, match="has codes 0 to 4, not"):
        TemporalFusionTransformer(config)(batch._replace(past_cat=codes))
