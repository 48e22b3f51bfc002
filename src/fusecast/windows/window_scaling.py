"""Reversible scaling of each window by its own lookback, for series whose level drifts (Kim et al. 2022, RevIN)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch, find_present
from fusecast.windows.window_index import WindowIndex

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


def rescale_windows(
    batch: Batch, encoded: EncodedPanel, index: WindowIndex, kind: str
) -> tuple[Batch, FloatArray, FloatArray]:
    """Return a batch of windows of a panel, on the CPU, as if they were scaled in another way; and its units.

    The targets in the batch may have been changed since it was gathered: the lookbacks that they are now are scaled.
    """
    batch = Batch(*(tensor.cpu() for tensor in batch))
    series, cutoff = index.locate(batch.window.numpy())
    of_series = replace(encoded, center=np.zeros_like(encoded.center), scale=np.ones_like(encoded.scale))
    shift, factor = map(torch.from_numpy, compute_window_units(of_series, index.lookback, series, cutoff))  # [B, Y]
    Y, present = shift.shape[1], find_present(batch, "past")
    present = None if present is None else present[..., :Y]
    past = batch.past_real[..., :Y].double() * factor[:, None] + shift[:, None]  # scaled as the series is
    past = past if present is None else past.masked_fill(~present, 0.0)
    center, scale = torch.zeros_like(shift), torch.ones_like(factor)
    if kind != "none":
        center, scale = compute_window_scales(past, present, kind)
    past = (past - center[:, None]) / scale[:, None]
    past = past if present is None else past.masked_fill(~present, 0.0)
    target = (batch.target.double() * factor[:, None] + (shift - center)[:, None]) / scale[:, None]
    if batch.target_mask.shape[-1]:
        target = target.masked_fill(~batch.target_mask, 0.0)
    dtype = batch.past_real.dtype
    units = (encoded.center[series] + center.numpy() * encoded.scale[series], encoded.scale[series] * scale.numpy())
    rescaled = batch._replace(
        past_real=torch.cat((past.to(dtype), batch.past_real[..., Y:]), dim=-1),
        target=target.to(dtype),
        center=torch.from_numpy(units[0]).to(dtype),
        scale=torch.from_numpy(units[1]).to(dtype),
        weight=(scale if kind != "none" else scale[:, :0]).to(dtype),
    )
    return rescaled, *units
