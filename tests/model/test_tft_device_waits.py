"""A training step on a GPU reads no value on the host and sends none, so that the host can run ahead."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tests.helpers.device_waits import META, no_waiting

from fusecast.model import lstm
from fusecast.model.batch import Batch, example_batch
from fusecast.model.config import HEADS, ModelConfig
from fusecast.model.heads import DistributionHead
from fusecast.model.losses import as_levels, likelihood_loss, quantile_loss
from fusecast.model.lstm import SequenceToSequence
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.lightning_module import median_error

SIZES: dict[str, Any] = {
    "lookback": 6,
    "horizon": 3,
    "num_targets": 2,
    "observed_reals": 3,
    "known_reals": 2,
    "static_reals": 1,
    "observed_categories": (3,),
    "known_categories": (4, 5),
    "static_categories": (7,),
    "hidden_size": 8,
    "num_heads": 2,
}


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not know the device "meta"; on CUDA it asks for no value."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


def packed(sequence: SequenceToSequence, x: torch.Tensor, state: Any, mask: torch.Tensor) -> Any:
    return sequence._encode_valid_steps(x, mask, state)


def on_meta(config: ModelConfig, *, missing: float) -> tuple[TemporalFusionTransformer, Batch]:
    """A network, and a batch with every mask where anything is missing."""
    batch = example_batch(config, 5, missing=missing)._replace(weight=torch.ones(5, config.num_targets))
    return TemporalFusionTransformer(config).to(META), Batch(*(tensor.to(META) for tensor in batch))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_training_step_neither_reads_a_value_nor_sends_one(head: str, missing: float) -> None:
    network, batch = on_meta(ModelConfig(**SIZES, head=head), missing=missing)
    optimizer = torch.optim.AdamW(network.parameters(), foreach=True)
    with no_waiting() as sent:
        output = network.train()(batch, None if head == "quantile" else ())
        if isinstance(network.head, DistributionHead):
            actual = network.head.log_prob(output.parameters, batch.target, batch.center, batch.scale)
            loss = likelihood_loss(actual, batch.target_mask, batch.weight)
        else:
            levels = network.config.quantiles
            loss = quantile_loss(output.quantiles, batch.target, batch.target_mask, levels, batch.weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    assert sent == []


@pytest.mark.parametrize(
    "options", [{"variable_skip": "linear"}, {"num_lstm_layers": 2}, {"selection_skip_norm": True}]
)
def test_a_network_of_another_shape_does_not_either(options: dict[str, Any]) -> None:
    network, batch = on_meta(ModelConfig(**SIZES, **options), missing=0.3)
    with no_waiting() as sent:
        network.train()(batch).quantiles.sum().backward()
    assert sent == []


@pytest.mark.parametrize("head", [name for name in HEADS if name != "negative_binomial"])  # its quantiles are counted
def test_a_validation_step_does_not_either(head: str) -> None:
    network, batch = on_meta(ModelConfig(**SIZES, head=head), missing=0.3)
    with torch.no_grad(), no_waiting() as sent:
        median_error(network.eval()(batch).quantiles, batch, network.config.quantiles)
    assert sent == []


def test_packed_sequences_would_read_the_lengths_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    # shows that the tests above can fail
    network, batch = on_meta(ModelConfig(**SIZES), missing=0.3)
    monkeypatch.setattr(lstm, "run_valid_steps", lambda _, *inputs: packed(network.recurrence, *inputs))
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError), match=r"host|meta"), no_waiting():
        network(batch)


def test_levels_filled_in_by_the_device_equal_copied_ones() -> None:
    levels = (0.1, 1 / 3, 0.5, 0.9)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        filled = as_levels(levels, torch.empty(0, dtype=dtype, device=META))
        assert (filled.shape, filled.dtype) == ((4,), dtype)
        one_by_one = torch.cat([torch.empty(0, dtype=dtype).new_full((1,), level) for level in levels])
        assert torch.equal(one_by_one, as_levels(levels, torch.empty(0, dtype=dtype)))
