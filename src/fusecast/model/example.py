"""Random batches of the right shapes: for tests, benchmarks, export and a first look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusecast.batch import Batch
from fusecast.model.config import ModelConfig


def example_batch(
    config: ModelConfig,
    batch_size: int = 2,
    *,
    missing: float = 0.0,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Batch:
    """Draw a batch for a network of this config, with H and L as configured.

    With `missing` above 0 every mask is there, and that share of values, of past steps and of targets is masked;
    the past of the first window is padded on the left as well. With 0 all masks have width 0.
    """
    B, L, H, Y = batch_size, config.lookback, config.horizon, config.num_targets

    def reals(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, generator=generator)

    def codes(cardinalities: Sequence[int], *shape: int) -> Tensor:
        columns = [torch.randint(card, shape, generator=generator) for card in cardinalities]
        return torch.stack(columns, dim=-1) if columns else torch.zeros(*shape, 0, dtype=torch.int64)

    def present(*shape: int) -> Tensor:
        if missing == 0:
            return torch.zeros(*shape[:-1], 0, dtype=torch.bool)
        return torch.rand(shape, generator=generator) >= missing

    static_real, past_real = reals(B, config.static_reals), reals(B, L, config.observed_reals + config.known_reals)
    future_real, target = reals(B, H, config.known_reals), reals(B, H, Y)
    past_mask = present(B, L)
    static_present, past_present = present(*static_real.shape), present(*past_real.shape)
    future_present, target_mask = present(*future_real.shape), present(*target.shape)
    if missing > 0:
        past_mask[0, : L // 3] = False
        past_present = past_present & past_mask.unsqueeze(-1)

    def blank(values: Tensor, mask: Tensor) -> Tensor:
        return values if missing == 0 else values.masked_fill(~mask, 0.0)

    return Batch(
        static_real=blank(static_real, static_present),
        static_cat=codes(config.static_categories, B),
        past_real=blank(past_real, past_present),
        past_cat=codes((*config.observed_categories, *config.known_categories), B, L),
        future_real=blank(future_real, future_present),
        future_cat=codes(config.known_categories, B, H),
        static_real_present=static_present,
        past_real_present=past_present,
        future_real_present=future_present,
        past_mask=past_mask,
        target=blank(target, target_mask),
        target_mask=target_mask,
        center=torch.zeros(B, Y, dtype=dtype),
        scale=torch.ones(B, Y, dtype=dtype),
        weight=torch.ones(B, 0, dtype=dtype),
        window=torch.arange(B),
    )
