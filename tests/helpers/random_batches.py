"""Batches from plain tensors, without missing values."""

from __future__ import annotations

import torch
from torch import Tensor

from fusecast.model.batch import Batch


def build_batch(
    *,
    past_real: Tensor,
    future_real: Tensor,
    static_real: Tensor | None = None,
    static_cat: Tensor | None = None,
    past_cat: Tensor | None = None,
    future_cat: Tensor | None = None,
    past_mask: Tensor | None = None,
) -> Batch:
    B, L, H = past_real.shape[0], past_real.shape[1], future_real.shape[1]

    def codes(values: Tensor | None, *shape: int) -> Tensor:
        return torch.zeros(*shape, 0, dtype=torch.int64) if values is None else values

    def no_mask(*shape: int) -> Tensor:
        return torch.zeros(*shape, 0, dtype=torch.bool)

    return Batch(
        static_real=torch.zeros(B, 0) if static_real is None else static_real.float(),
        static_cat=codes(static_cat, B),
        past_real=past_real.float(),
        past_cat=codes(past_cat, B, L),
        future_real=future_real.float(),
        future_cat=codes(future_cat, B, H),
        static_real_present=no_mask(B),
        past_real_present=no_mask(B, L),
        future_real_present=no_mask(B, H),
        past_mask=no_mask(B) if past_mask is None else past_mask,
        target=torch.zeros(B, H, 1),
        target_mask=no_mask(B, H),
        center=torch.zeros(B, 1),
        scale=torch.ones(B, 1),
        weight=torch.ones(B, 0),
        sample_weight=torch.ones(B, 0),
        window=torch.arange(B),
    )
