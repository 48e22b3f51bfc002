"""Scale the windows of series without training rows by their own rows before the cutoff, whatever gathered them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import locate_new_windows


class BatchGatherer(Protocol):
    """What returns batches of the windows of an index, by their numbers."""

    def __call__(self, windows: ArrayLike) -> Batch:
        """Return the batch of windows [B]."""

    def batches(self, windows: IntArray, size: int) -> Iterator[Batch]:
        """Yield the batches of windows [W], `size` at a time."""


class NewSeriesGatherer:
    """A gatherer around another, the windows of new series of which are scaled by their own rows; others stay."""

    def __init__(self, gatherer: BatchGatherer, encoded: EncodedPanel, index: WindowIndex) -> None:
        self.gatherer, self.encoded, self.index = gatherer, encoded, index

    def __call__(self, windows: ArrayLike) -> Batch:
        """Return the batch of windows [B], numbered as in the index."""
        return self._rescale(self.gatherer(windows))

    def batches(self, windows: IntArray, size: int) -> Iterator[Batch]:
        """Yield the batches of windows [W], `size` at a time; the last may be smaller."""
        return map(self._rescale, self.gatherer.batches(windows, size))

    def _rescale(self, batch: Batch) -> Batch:
        """Replace the reals, the target and its scales of the windows of new series, in place."""
        encoded, index = self.encoded, self.index
        series, cutoff = index.locate(batch.window.cpu().numpy())
        new = locate_new_windows(encoded, index.lookback, index.horizon, series, cutoff)
        if new is None:
            return batch
        assert encoded.new_series is not None
        L, columns, Y = index.lookback, encoded.new_series.columns, new.shift.shape[1]
        observed = len(encoded.inputs.targets) + len(encoded.inputs.observed_reals)
        center, scale = new.center.copy(), new.scale.copy()
        center[:, :Y], scale[:, :Y] = new.target_units
        scaled = np.nan_to_num((new.values - center[:, None]) / scale[:, None])
        known = columns >= observed
        _write(batch.past_real, new.window, columns, scaled[:, :L])
        _write(batch.future_real, new.window, columns[known] - observed, scaled[:, L:, known])
        _write(batch.target, new.window, columns[:Y], scaled[:, L:, :Y])
        _write(batch.center, new.window, columns[:Y], center[:, :Y])
        _write(batch.scale, new.window, columns[:Y], scale[:, :Y])
        if batch.weight.shape[-1]:
            _write(batch.weight, new.window, columns[:Y], new.factor)
        return batch


def has_new_windows(encoded: EncodedPanel, index: WindowIndex) -> bool:
    """Return whether a window of an index belongs to a new series."""
    new = encoded.new_series
    return new is not None and bool((index.counts[new.position >= 0] > 0).any())


def _write(tensor: Tensor, windows: IntArray, columns: IntArray, values: FloatArray) -> None:
    """Write values [W, ..., C] into some columns of the windows of a tensor [B, ..., V]."""
    number = torch.from_numpy(windows).to(tensor.device)
    rows = tensor.index_select(0, number)
    rows[..., torch.from_numpy(columns).to(tensor.device)] = torch.from_numpy(values).to(rows)
    tensor.index_copy_(0, number, rows)
