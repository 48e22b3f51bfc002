"""Reversible scaling of each window by its own lookback, for series whose level drifts (Kim et al. 2022, RevIN)."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 0.02
"""Least scale of a window, in units of its series' scale: a quiet lookback does not blow up what follows."""


def window_scales(values: Tensor, present: Tensor | None, kind: str) -> tuple[Tensor, Tensor]:
    """Give center and scale [B, Y] of lookbacks [B, L, Y] of scaled values, 0 where missing.

    The center is the mean of the present values (`mean`) or the last of them (`last`); the scale is their deviation
    from their mean, at least :data:`FLOOR`. A lookback without a value is left as it is: center 0, scale 1.
    """
    if present is None:
        scale, center = torch.std_mean(values, dim=1, correction=0)
        return (values[:, -1].clone() if kind == "last" else center), scale.clamp(min=FLOOR)
    count = present.sum(dim=1)
    empty = count == 0
    center = values.sum(dim=1) / count.clamp(min=1)
    deviation = (values - center[:, None]).masked_fill(~present, 0.0)
    scale = (deviation.square().sum(dim=1) / count.clamp(min=1)).sqrt().clamp(min=FLOOR).masked_fill(empty, 1.0)
    if kind == "last":
        step = torch.arange(values.shape[1], device=values.device)[None, :, None]
        last = (step * present).amax(dim=1, keepdim=True)
        center = values.gather(1, last)[:, 0]  # 0 in a lookback without a value
    return center, scale
