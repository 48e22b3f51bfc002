"""Masked steps of the past are as if they were not there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.networks import FULL, build_network, draw_batch
from torch import Tensor

from fusecast.model.lstm import SequenceToSequence, run_valid_steps
from fusecast.model.tft import TemporalFusionTransformer


@given(
    windows=st.integers(1, 6),
    steps=st.integers(1, 8),
    width=st.integers(1, 6),
    layers=st.integers(1, 3),
    valid=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_masked_steps_change_neither_outputs_nor_states_nor_gradients(windows, steps, width, layers, valid, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    torch.manual_seed(seed)
    sequence = SequenceToSequence(width, layers, dropout=0.0).double()
    mask = torch.rand(windows, steps, generator=generator) < valid
    inputs = [draw(windows, steps, width), *(3 * draw(layers, windows, width) for _ in range(2))]
    differentiated = [*(x.requires_grad_() for x in inputs), *sequence.encoder.parameters()]
    pulls = [draw(windows, steps, width), draw(layers, windows, width), draw(layers, windows, width)]

    def results(output: Tensor, states: tuple[Tensor, Tensor]) -> list[Tensor]:
        actual = [output, *states]
        total = sum((one * pull).sum() for one, pull in zip(actual, pulls, strict=True))
        return [*actual, *torch.autograd.grad(total, differentiated, allow_unused=True, materialize_grads=True)]

    x, hidden, cell = inputs
    expected = results(*sequence._encode_valid_steps(x, mask, (hidden, cell)))
    actual = results(*run_valid_steps(sequence.encoder, x, (hidden, cell), mask))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gates_are_closed_to_the_last_bit_in_every_precision(dtype):
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(4, 4, batch_first=True).to(dtype)
    x, cell = torch.randn(3, 6, 4).to(dtype), torch.randn(1, 3, 4).to(dtype)
    output, (hidden, after) = run_valid_steps(lstm, 100 * x, (cell / 2, cell), torch.zeros(3, 6, dtype=torch.bool))
    assert (output == 0).all()
    assert torch.equal(after, cell)
    assert torch.equal(hidden, cell / 2)


def take_path_of_other_devices(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Take the path of other devices on a CPU; return the masks that it is called with."""
    masks: list[Tensor] = []

    def run(self: SequenceToSequence, past: Tensor, mask: Tensor, initial: tuple[Tensor, Tensor]) -> object:
        masks.append(mask)
        return run_valid_steps(self.encoder, past, initial, mask)

    monkeypatch.setattr(SequenceToSequence, "_encode_valid_steps", run)
    return masks


def forecast(network: TemporalFusionTransformer) -> Tensor:
    return network(draw_batch(FULL, missing=0.3)).quantiles


def test_a_network_forecasts_the_same_by_the_path_of_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(FULL)
    expected = forecast(network)
    masks = take_path_of_other_devices(monkeypatch)
    torch.testing.assert_close(forecast(network), expected, rtol=1e-12, atol=1e-12)
    assert not masks[0].all()


def test_the_lstm_is_left_out_of_autocast_on_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bool]] = []
    usual = torch.autocast

    def record(device: str, *, enabled: bool) -> object:
        calls.append((device, enabled))
        return usual("cpu", enabled=enabled)

    monkeypatch.setattr(torch, "autocast", record)
    sequence = SequenceToSequence(4, 1, dropout=0.0).to("meta")
    past, future = (torch.empty(2, steps, 4, device="meta", dtype=torch.bfloat16) for steps in (5, 3))
    actual = sequence(past, future, hidden=None, cell=None, past_mask=None)
    assert calls == [("meta", False)]
    assert (actual.shape, actual.dtype) == ((2, 8, 4), torch.float32)
