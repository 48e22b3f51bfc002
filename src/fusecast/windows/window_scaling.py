"""Reversible scaling of each window by its own lookback, for series whose level drifts (Kim et al. 2022, RevIN)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.features.encoded_panel import EncodedPanel

MIN_WINDOW_SCALE = 0.02
"""Least scale of a window, in units of its series' scale: steps after a constant lookback stay bounded."""


def compute_window_scales(values: Tensor, present: Tensor | None, kind: str) -> tuple[Tensor, Tensor]:
    """Return center and scale [B, Y] of lookbacks [B, L, Y] of scaled values, 0 where missing.

    The center is the mean of the present values (`mean`) or the last of them (`last`); the scale is their deviation
    from their mean, at least :data:`MIN_WINDOW_SCALE`. A lookback without a value is left as it is: center 0, scale 1.
    """
    if present is None and len(values):  # for no lookbacks, torch would warn
        scale, center = torch.std_mean(values, dim=1, correction=0)
        return (values[:, -1].clone() if kind == "last" else center), scale.clamp(min=MIN_WINDOW_SCALE)
    present = torch.ones_like(values, dtype=torch.bool) if present is None else present
    count = present.sum(dim=1)
    center = values.sum(dim=1) / count.clamp(min=1)
    deviation = (values - center[:, None]).masked_fill(~present, 0.0)
    scale = (deviation.square().sum(dim=1) / count.clamp(min=1)).sqrt().clamp(min=MIN_WINDOW_SCALE)
    scale = scale.masked_fill(count == 0, 1.0)
    if kind == "last":
        step = torch.arange(values.shape[1], device=values.device)[None, :, None]
        last = (step * present).amax(dim=1, keepdim=True)
        center = values.gather(1, last)[:, 0]  # 0 in a lookback without a value
    return center, scale


def compute_window_units(
    encoded: EncodedPanel, lookback: int, series: IntArray, cutoff: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return center and scale [B, Y] that convert the scaled targets of windows to the units of the data.

    They are those of a batch, in float64: in float32, values of 1e9 and 1e9 + 30 would be equal.
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
    shift, factor = compute_window_scales(values, torch.from_numpy(present), encoded.window_scaling)
    return center + shift.numpy() * scale, scale * factor.numpy()
