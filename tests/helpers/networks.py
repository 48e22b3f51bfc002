"""Networks and batches for the tests of the network, and batches changed in one respect."""

from __future__ import annotations

import re

import torch

from fusecast.model.batch import Batch, example_batch
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

FULL = ModelConfig(
    horizon=4, lookback=6, static_reals=2, static_categories=(3,), observed_reals=2, observed_categories=(4,),
    known_reals=2, known_categories=(5,), hidden_size=8, num_heads=2, num_lstm_layers=2, dropout=0.0,
)  # fmt: skip
BARE = ModelConfig(horizon=4, lookback=6, hidden_size=8, num_heads=2, dropout=0.0)
GARBAGE = 1e6


def build_network(
    config: ModelConfig,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float64,
    perturb: str | None = None,
    noise: float = 0.3,
) -> TemporalFusionTransformer:
    """Build a network from a seed; add noise to the parameters whose names match `perturb`.

    Parameters that start as ones, zeros or an identity hide errors: a wrong gain or shift would go unseen.
    """
    torch.manual_seed(seed)
    network = TemporalFusionTransformer(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if perturb is not None and re.search(perturb, name):
                parameter.add_(noise * torch.randn_like(parameter))
    return network.to(dtype)


def draw_batch(
    config: ModelConfig, size: int = 3, *, missing: float = 0.0, dtype: torch.dtype = torch.float64, seed: int = 1
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return example_batch(config, size, missing=missing, dtype=dtype, generator=generator)


def as_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    return Batch(*(x.to(dtype) if x.is_floating_point() else x for x in batch))


def widen_masks(batch: Batch) -> Batch:
    """Write out the masks of a batch with nothing missing."""
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
