"""PlainGatherer: the definition of a batch, by torch and NumPy, one indexed copy a tensor."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fusecast.batch import Batch
from fusecast.features.encoded import EncodedPanel
from fusecast.windows.index import WindowIndex
from fusecast.windows.recentre import window_scales


class PlainGatherer:
    """Cuts windows out of one encoded panel; works everywhere, and says what :class:`Filler` has to give.

    A window is a run of rows, so flat arrays are read as overlapping rows of ``T * V`` numbers and a batch is one
    ``index_select`` of those. Rows of a run that are not the series' own are cleared: before its first row they are
    padding, after its last they are unknown. The arrays may be memory-mapped; only rows asked for are read.

    - A mask of the batch has width 0 when nothing in it is missing.
    - A past step is masked when it is padding, or nothing at all of its row is present.
    - The relative position of step t (0 is the first of the lookback) is ``(t - L) / max(L, H)``: the first step to
      forecast is 0, all steps lie in [-1, 1). It is the last known real, and always present.
    - With window scaling, targets (past and future) are scaled once more, and `center` and `scale` of the batch lead
      back to the panel's units in one step. They are float32, like everything real in a batch.
    """

    def __init__(self, encoded: EncodedPanel, index: WindowIndex) -> None:
        self.index = index
        self.indptr = encoded.indptr
        self.window_scaling = encoded.window_scaling
        self.num_targets = len(encoded.inputs.targets)
        self.num_observed = self.num_targets + len(encoded.inputs.observed_reals)
        self.num_observed_categories = len(encoded.inputs.observed_categories)
        self.reals = _tensor(encoded.reals)
        self.reals_present = _tensor(encoded.reals_present)
        self.categories = _tensor(encoded.categories)
        self.static_reals = _tensor(encoded.static_reals)
        self.static_reals_present = _tensor(encoded.static_reals_present)
        self.static_categories = _tensor(encoded.static_categories)
        self.center = _tensor(encoded.center.astype(np.float32))
        self.scale = _tensor(encoded.scale.astype(np.float32))
        self.position: Tensor | None = None  # [1, T, 1]
        if self.num_observed + len(encoded.inputs.known_reals) > self.reals.shape[1]:
            steps = torch.arange(index.lookback + index.horizon, dtype=torch.float32) - index.lookback
            self.position = (steps / max(index.lookback, index.horizon))[None, :, None]

    def __call__(self, windows: ArrayLike) -> Batch:
        """Give the batch of windows [B] numbered as in the index."""
        number = np.asarray(windows, dtype=np.int64)
        series, cutoff = self.index.locate(number)
        L, T, Y = self.index.lookback, self.index.lookback + self.index.horizon, self.num_targets
        begin, end = self.indptr[series], self.indptr[series + 1]
        first = begin + cutoff - L

        inside: Tensor | None = None  # [B, T]: the row is the series' own
        if bool((cutoff < L).any()) or bool((first + T > end).any()):
            rows = first[:, None] + np.arange(T)
            inside = torch.from_numpy((rows >= begin[:, None]) & (rows < end[:, None]))
        cut = _Cut(first, T, inside, len(self.reals))

        reals, categories = cut(self.reals), cut(self.categories)
        present: Tensor | None = None  # [B, T, V]; None: all of it
        if self.reals_present.shape[1]:
            present = cut(self.reals_present)
        elif inside is not None:
            present = inside[:, :, None].expand_as(reals)

        chosen = torch.from_numpy(series)
        center, scale = self.center.index_select(0, chosen), self.scale.index_select(0, chosen)
        if self.window_scaling != "none":
            of_targets = None if present is None else present[:, :, :Y]
            past_of_targets = None if of_targets is None else of_targets[:, :L]
            shift, factor = window_scales(reals[:, :L, :Y], past_of_targets, self.window_scaling)
            rescaled = (reals[:, :, :Y] - shift[:, None]) / factor[:, None]
            reals[:, :, :Y] = rescaled if of_targets is None else rescaled.masked_fill(~of_targets, 0.0)
            center, scale = center + shift * scale, scale * factor
            weight = factor  # an error counts in units of its series, however quiet the lookback was
        else:
            weight = scale[:, :0]

        past_mask, past_present, future_present, target_mask = self._masks(present, categories, len(number))
        return Batch(
            static_real=self.static_reals.index_select(0, chosen),
            static_cat=self.static_categories.index_select(0, chosen).long(),
            past_real=self._with_position(reals[:, :L], slice(None, L)),
            past_cat=categories[:, :L].long(),
            future_real=self._with_position(reals[:, L:, self.num_observed :], slice(L, None)),
            future_cat=categories[:, L:, self.num_observed_categories :].long(),
            static_real_present=_unless_full(self.static_reals_present.index_select(0, chosen)),
            past_real_present=past_present,
            future_real_present=future_present,
            past_mask=past_mask,
            target=reals[:, L:, :Y].contiguous(),
            target_mask=target_mask,
            center=center,
            scale=scale,
            weight=weight,
            window=torch.from_numpy(number),
        )

    def _masks(self, present: Tensor | None, categories: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give the masks of the past, of past and future reals and of the target; width 0 where nothing is missing."""
        L, H = self.index.lookback, self.index.horizon
        if present is None:
            nothing = torch.empty((size, L + H, 0), dtype=torch.bool)
            return nothing[:, 0], nothing[:, :L], nothing[:, L:], nothing[:, L:]
        past, future = present[:, :L], present[:, L:]
        step = _something(past, categories[:, :L])
        whole = _all(step)
        # what a masked step lacks is never looked at
        lacking = not _all(past if whole else past | ~step[:, :, None])
        known, target = future[:, :, self.num_observed :], future[:, :, : self.num_targets]
        return (
            step[:, :0] if whole else step,
            self._and_position(past) if lacking else past[:, :, :0],
            known[:, :, :0] if _all(known) else self._and_position(known),
            _unless_full(target),
        )

    def _with_position(self, reals: Tensor, steps: slice) -> Tensor:
        if self.position is None:
            return reals.contiguous()
        V = reals.shape[2]
        joined = reals.new_empty((*reals.shape[:2], V + 1))  # two copies: a third of the time of torch.cat
        joined[:, :, :V] = reals
        joined[:, :, V:] = self.position[:, steps]
        return joined

    def _and_position(self, present: Tensor) -> Tensor:
        """The same mask, with the relative position beside the columns of the panel."""
        if self.position is None:
            return present.contiguous()
        return torch.cat((present, present.new_ones((*present.shape[:2], 1))), dim=2)


class _Cut:
    """Copies the runs of `length` rows that begin at `first` [B] out of arrays [N, V]; clears what is not `inside`."""

    def __init__(self, first: NDArray[np.int64], length: int, inside: Tensor | None, num_rows: int) -> None:
        self.length = length
        self.first = torch.from_numpy(first)
        self.outside = None if inside is None else ~inside[:, :, None]
        self.rows: Tensor | None = None
        if inside is not None and (first.min() < 0 or first.max() + length > num_rows):
            # a run reaches over an end of the array itself: rows one by one, those over the end being any row
            rows = (first[:, None] + np.arange(length)).clip(0, num_rows - 1)
            self.rows = torch.from_numpy(rows.ravel())

    def __call__(self, array: Tensor) -> Tensor:
        B, T, (N, V) = len(self.first), self.length, array.shape
        if not V:
            return array.new_empty((B, T, 0))
        if self.rows is not None:
            cut = array.index_select(0, self.rows)
        else:
            cut = array.as_strided((N - T + 1, T * V), (V, 1)).index_select(0, self.first)
        cut = cut.view(B, T, V)
        return cut if self.outside is None else cut.masked_fill_(self.outside, 0)


def _something(present: Tensor, categories: Tensor) -> Tensor:
    """Steps [B, L] at which any variable of the row is present.

    Column by column, from the last category back, since the calendar is there whatever else is missing: the first
    column mostly settles it, and reductions over a short last dimension are slow.
    """
    columns = [*categories.unbind(2)[::-1], *present.unbind(2)]
    step = columns[0] != 0
    for column in columns[1:]:
        if _all(step):
            break
        step = step | (column != 0)
    return step.contiguous()


def _all(mask: Tensor) -> bool:
    return bool(mask.numpy().all())  # ten times as fast as that of torch


def _unless_full(present: Tensor) -> Tensor:
    return present[..., :0] if _all(present) else present.contiguous()


def _tensor(array: NDArray[np.generic]) -> Tensor:
    """Share an array's memory; arrays mapped read-only are fine, nothing is ever written to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))
