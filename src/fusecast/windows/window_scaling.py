"""Reversible scaling of each window by its own lookback, for series whose level drifts (Kim et al. 2022, RevIN)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.features.encoded_panel import EncodedPanel

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


def window_units(
    encoded: EncodedPanel, lookback: int, series: NDArray[np.int64], cutoff: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give center and scale [B, Y] that lead from the scaled targets of windows back to the units of the data.

    They are those of a batch in float64: in the float32 of a batch, values of 1e9 could not be told from 1e9 + 30.
    """
    center, scale = encoded.center[series], encoded.scale[series]
    if encoded.window_scaling == "none":
        return center, scale
    Y = center.shape[1]
    begin = encoded.indptr[series][:, None]
    rows = begin + cutoff[:, None] + np.arange(-lookback, 0)
    present = np.repeat((rows >= begin)[:, :, None], Y, axis=2)
    rows = np.maximum(rows, begin)
    if encoded.reals_present.shape[1]:
        present &= encoded.reals_present[rows, :Y]
    values = torch.from_numpy(np.where(present, encoded.reals[rows, :Y], 0.0))  # float64
    shift, factor = window_scales(values, torch.from_numpy(present), encoded.window_scaling)
    return center + shift.numpy() * scale, scale * factor.numpy()
