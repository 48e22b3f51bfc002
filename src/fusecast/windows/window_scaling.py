"""Reversible scaling of each window by its own lookback, for series whose level drifts (Kim et al. 2022, RevIN)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fusecast.data.arrays import FloatArray, IntArray, take_windows
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.new_series import NewSeries, weigh_deviation
from fusecast.model.batch import Batch, find_present
from fusecast.windows.window_index import WindowIndex

MIN_WINDOW_SCALE = 0.02
"""Least scale of a window, in units of its series' scale: steps after a constant lookback stay bounded."""


SEASONS_IN_LOOKBACK = 3
"""Seasons that a lookback holds at least where the last one is the center of its windows."""


def count_values_of_center(kind: str, season: int, lookback: int) -> int:
    """Return how many of the last values of a lookback its center is the mean of; 0 for all of them.

    All (`mean`), one (`last`), or those of a `season` of so many steps: one where three seasons do not fit.
    """
    if kind == "season" and season * SEASONS_IN_LOOKBACK <= lookback:
        return season
    return 0 if kind == "mean" else 1


def compute_window_scales(values: Tensor, present: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Return center and scale [B, Y] of lookbacks [B, L, Y] of scaled values, 0 where missing.

    The center is the mean of the last `count` present values, 0 for all; the scale is the deviation of all from their
    mean, at least :data:`MIN_WINDOW_SCALE`. A lookback without a value is left as it is: center 0, scale 1.
    """
    if present is None and len(values):  # for no lookbacks, torch would warn
        scale, center = torch.std_mean(values, dim=1, correction=0)
        return (values[:, -count:].mean(dim=1) if count else center), scale.clamp(min=MIN_WINDOW_SCALE)
    present = torch.ones_like(values, dtype=torch.bool) if present is None else present
    known = present.sum(dim=1)
    center = values.sum(dim=1) / known.clamp(min=1)
    deviation = (values - center[:, None]).masked_fill(~present, 0.0)
    scale = (deviation.square().sum(dim=1) / known.clamp(min=1)).sqrt().clamp(min=MIN_WINDOW_SCALE)
    scale = scale.masked_fill(known == 0, 1.0)
    if count:
        is_late = known[:, None] - present.long().cumsum(dim=1) < count  # fewer present values come after it
        center = values.masked_fill(~is_late, 0.0).sum(dim=1) / known.clamp(min=1, max=count)
    return center, scale


def compute_window_units(
    encoded: EncodedPanel, lookback: int, series: IntArray, cutoff: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return center and scale [B, Y] that convert the scaled targets of windows to the units of the data.

    They are those of a batch, in float64: in float32, values of 1e9 and 1e9 + 30 would be equal.
    """
    center, scale, shift, factor = _compute_scales(encoded, lookback, series, cutoff)
    return center + shift * scale, scale * factor


def _compute_scales(
    encoded: EncodedPanel, lookback: int, series: IntArray, cutoff: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return center and scale [B, Y] of the series of windows; and those of their lookbacks, in units of the series."""
    center, scale = encoded.center[series], encoded.scale[series]
    shift, factor = _compute_lookback_scales(encoded, lookback, series, cutoff)
    new = locate_new_windows(encoded, lookback, 0, series, cutoff)
    if new is not None and (Y := new.shift.shape[1]):
        center[new.window], scale[new.window] = new.center[:, :Y], new.scale[:, :Y]
        shift[new.window], factor[new.window] = new.shift, new.factor
    return center, scale, shift, factor


def _compute_lookback_scales(
    encoded: EncodedPanel, lookback: int, series: IntArray, cutoff: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return center and scale [B, Y] of lookbacks as they are encoded."""
    center = encoded.center[series]
    if encoded.window_scaling == "none":
        return np.zeros_like(center), np.ones_like(center)
    Y = center.shape[1]
    begin = encoded.indptr[series][:, None]
    rows = begin + cutoff[:, None] + np.arange(-lookback, 0)
    present = np.repeat((rows >= begin)[:, :, None], Y, axis=2)
    rows = np.maximum(rows, begin)
    if encoded.reals_present.shape[1]:
        present &= take_windows(encoded.reals_present[:, :Y], rows)
    values = torch.from_numpy(np.where(present, take_windows(encoded.reals[:, :Y], rows), 0.0))  # float64
    count = count_values_of_center(encoded.window_scaling, encoded.season, lookback)
    shift, factor = compute_window_scales(values, torch.from_numpy(present), count)
    return shift.double().numpy(), factor.double().numpy()


class NewWindows(NamedTuple):
    """Windows of new series among others, with the values that they cover and their scales."""

    window: IntArray  # [W] which of all windows they are
    values: FloatArray  # [W, L + H, C] in the units of the data, transformed; NaN where missing or outside the series
    center: FloatArray  # [W, C] of the series, at the cutoff
    scale: FloatArray  # [W, C]
    shift: FloatArray  # [W, Y] center of the lookback in units of the series; Y is 0 where targets are not scaled
    factor: FloatArray  # [W, Y]

    @property
    def target_units(self) -> tuple[FloatArray, FloatArray]:
        """Center and scale [W, Y] that convert the scaled targets of the windows to the units of the data."""
        Y = self.shift.shape[1]
        return self.center[:, :Y] + self.shift * self.scale[:, :Y], self.scale[:, :Y] * self.factor


def locate_new_windows(
    encoded: EncodedPanel, lookback: int, horizon: int, series: IntArray, cutoff: IntArray
) -> NewWindows | None:
    """Return which windows [B] belong to new series, and their scales; None where none does."""
    new = encoded.new_series
    window = np.empty(0, dtype=np.int64) if new is None else np.flatnonzero(new.position[series] >= 0)
    if new is None or not len(window):
        return None
    number, cutoff = new.position[series[window]], cutoff[window]
    center, scale = new.compute_scales(number, cutoff, lookback)
    rows = cutoff[:, None] + np.arange(-lookback, horizon)
    outside = (rows < 0) | (rows >= np.diff(new.indptr)[number][:, None])
    values = new.values[np.where(outside, 0, new.indptr[number][:, None] + rows)]
    values[outside] = np.nan
    Y = _count_targets(encoded, new)
    shift, factor = np.zeros((len(window), Y)), np.ones((len(window), Y))
    if encoded.window_scaling != "none":
        past = torch.from_numpy((values[:, :lookback, :Y] - center[:, None, :Y]) / scale[:, None, :Y])
        present = ~past.isnan()
        count = count_values_of_center(encoded.window_scaling, encoded.season, lookback)
        shifts, factors = scale_new_lookbacks(past.nan_to_num(), present, count, new.usual)
        shift, factor = shifts.numpy(), factors.numpy()
    return NewWindows(window, values, center, scale, shift, factor)


def scale_new_lookbacks(values: Tensor, present: Tensor | None, count: int, usual: FloatArray) -> tuple[Tensor, Tensor]:
    """Return center and scale [B, Y] of the lookbacks of new series.

    With few values the scale is nearer to the `usual` one; without any, center and scale are the usual ones [2, Y].
    """
    center, scale = compute_window_scales(values, present, count)
    known = torch.full(center.shape, values.shape[1]) if present is None else present.sum(dim=1)
    usual_center, usual_scale = torch.from_numpy(usual).to(center)
    weight = torch.from_numpy(weigh_deviation(known.numpy())).to(scale)
    return torch.where(known > 0, center, usual_center), scale**weight * usual_scale ** (1 - weight)


def rescale_windows(
    batch: Batch, encoded: EncodedPanel, index: WindowIndex, kind: str
) -> tuple[Batch, FloatArray, FloatArray]:
    """Return a batch of windows of a panel, on the CPU, as if they were scaled in another way; and its units.

    The targets in the batch may have been changed since it was gathered: the lookbacks that they are now are scaled.
    """
    batch = Batch(*(tensor.cpu() for tensor in batch))
    series, cutoff = index.locate(batch.window.numpy())
    series_center, series_scale, *of_lookback = _compute_scales(encoded, index.lookback, series, cutoff)
    shift, factor = map(torch.from_numpy, of_lookback)  # [B, Y]
    Y, present = shift.shape[1], find_present(batch, "past")
    present = None if present is None else present[..., :Y]
    past = batch.past_real[..., :Y].double() * factor[:, None] + shift[:, None]  # scaled as the series is
    past = past if present is None else past.masked_fill(~present, 0.0)
    center, scale = torch.zeros_like(shift), torch.ones_like(factor)
    if kind != "none":
        count = count_values_of_center(kind, encoded.season, index.lookback)
        center, scale = compute_window_scales(past, present, count)
        if encoded.new_series is not None and _count_targets(encoded, encoded.new_series):
            new, usual = encoded.new_series.position[series] >= 0, encoded.new_series.usual
            center[new], scale[new] = scale_new_lookbacks(
                past[new], None if present is None else present[new], count, usual
            )
    past = (past - center[:, None]) / scale[:, None]
    past = past if present is None else past.masked_fill(~present, 0.0)
    target = (batch.target.double() * factor[:, None] + (shift - center)[:, None]) / scale[:, None]
    if batch.target_mask.shape[-1]:
        target = target.masked_fill(~batch.target_mask, 0.0)
    dtype = batch.past_real.dtype
    units = (series_center + center.numpy() * series_scale, series_scale * scale.numpy())
    rescaled = batch._replace(
        past_real=torch.cat((past.to(dtype), batch.past_real[..., Y:]), dim=-1),
        target=target.to(dtype),
        center=torch.from_numpy(units[0]).to(dtype),
        scale=torch.from_numpy(units[1]).to(dtype),
        weight=(scale if kind != "none" else scale[:, :0]).to(dtype),
    )
    return rescaled, *units


def _count_targets(encoded: EncodedPanel, new: NewSeries) -> int:
    """Return how many targets are scaled series by series: all, or none."""
    return int((new.columns < len(encoded.inputs.targets)).sum())
