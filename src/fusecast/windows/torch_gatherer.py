"""TorchGatherer: the definition of a batch, in torch and NumPy, one indexed copy a tensor; PanelTensors, its source."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from enum import IntFlag
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fusecast.data import arrays
from fusecast.data.arrays import IntArray, is_mapped, release
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import compute_window_scales, count_values_of_center

CPU = torch.device("cpu")


class PanelTensors:
    """The arrays of an encoded panel as tensors on one device, and the numbers of its columns by kind.

    On the CPU they share the memory of the arrays: nothing is copied, and arrays mapped from a file stay there. On any
    other device they are copies.
    """

    def __init__(self, encoded: EncodedPanel, device: torch.device = CPU) -> None:
        inputs = encoded.inputs
        self.device = device
        self.indptr = encoded.indptr
        self.window_scaling, self.season = encoded.window_scaling, encoded.season
        self.num_targets = len(inputs.targets)
        self.num_observed = self.num_targets + len(inputs.observed_reals)
        self.num_observed_categories = len(inputs.observed_categories)
        self.reals = _to_tensor(encoded.reals, device)
        self.reals_present = _to_tensor(encoded.reals_present, device)
        self.categories = _to_tensor(encoded.categories, device)
        self.static_reals = _to_tensor(encoded.static_reals, device)
        self.static_reals_present = _to_tensor(encoded.static_reals_present, device)
        self.static_categories = _to_tensor(encoded.static_categories, device)
        self.center = _to_tensor(encoded.center.astype(np.float32), device)
        self.scale = _to_tensor(encoded.scale.astype(np.float32), device)
        self.weights = _to_tensor(encoded.weights, device)
        self.has_position = encoded.has_position
        rows = (encoded.reals, encoded.reals_present, encoded.categories)
        self._mapped, self._windows = [array for array in rows if is_mapped(array)], 0

    @property
    def most_windows(self) -> float:
        """Return how many windows may be gathered at once."""
        return arrays.WINDOWS_IN_MEMORY if self._mapped else math.inf

    def count(self, windows: int) -> None:
        """Count windows that were gathered; now and then, memory that mapped files take is returned to the system."""
        self._windows += windows
        if self._mapped and self._windows >= arrays.WINDOWS_IN_MEMORY:
            release(*self._mapped)
            self._windows = 0


class Missing(IntFlag):
    """What is missing in a row, a series or a batch; the masks of a batch follow from it. The bits of ``windows.c``."""

    NONE = 0
    PAST_REAL = 1  # some real, in a row that is not empty
    PAST_STEP = 2  # every value of a row
    FUTURE_REAL = 4  # some known real
    TARGET = 8
    STATIC_REAL = 16


class WindowLocation(NamedTuple):
    """Where the windows of a batch lie: the rows to copy, and which of them are outside the series."""

    number: Tensor  # int64 [B] in the index
    series: Tensor  # int64 [B]
    rows: Tensor  # int64 [B, T] of the panel
    outside: Tensor | None  # bool [B, T, 1]: whether the row belongs to another series; None: no row does
    missing: Missing | None  # None: computed from the values, for which the host would wait for a device


class TorchGatherer:
    """Gathers windows of one encoded panel on any machine; the definition of what the kernel computes.

    A batch is one ``index_select`` of rows a tensor. Rows outside the series are cleared: before its first row they are
    padding, after its last they are unknown. The arrays may be memory-mapped; only the rows of the windows are read.

    - A mask of the batch has width 0 when nothing in it is missing.
    - A past step is masked when it is padding, or every value of its row is missing.
    - The relative position of step t (0 is the first of the lookback) is ``(t - L) / max(L, H)``: the first step to
      forecast is 0, all steps lie in [-1, 1). It is the last known real, and always present.
    - With window scaling, targets (past and future) are scaled once more, and `center` and `scale` of the batch convert
      to the panel's units in one step. They are float32, like all reals of a batch.
    """

    def __init__(self, panel: PanelTensors, index: WindowIndex) -> None:
        self.index = index
        self.panel = panel
        self.steps = torch.arange(index.lookback + index.horizon, device=panel.device)
        self.count_of_center = count_values_of_center(panel.window_scaling, panel.season, index.lookback)
        self.position: Tensor | None = None  # [1, T, 1]
        if panel.has_position:
            self.position = relative_positions(index.lookback, index.horizon, panel.device)[None, :, None]

    def __call__(self, windows: ArrayLike) -> Batch:
        """Return the batch of windows [B], numbered as in the index."""
        panel, location = self.panel, self.locate(np.asarray(windows, dtype=np.int64))
        panel.count(len(location.number))
        L, Y, series = self.index.lookback, panel.num_targets, location.series
        reals, categories = _copy_rows(panel.reals, location), _copy_rows(panel.categories, location)
        present: Tensor | None = None  # [B, T, V]; None: every value
        if panel.reals_present.shape[1]:
            present = _copy_rows(panel.reals_present, location)
        elif location.outside is not None:
            present = (~location.outside).expand_as(reals)

        center, scale = panel.center.index_select(0, series), panel.scale.index_select(0, series)
        if panel.window_scaling != "none":
            target_present = None if present is None else present[:, :, :Y]
            past_present = None if target_present is None else target_present[:, :L]
            shift, factor = compute_window_scales(reals[:, :L, :Y], past_present, self.count_of_center)
            rescaled = (reals[:, :, :Y] - shift[:, None]) / factor[:, None]
            reals[:, :, :Y] = rescaled if target_present is None else rescaled.masked_fill(~target_present, 0.0)
            center, scale = center + shift * scale, scale * factor
            weight = factor  # an error counts in units of its series, however quiet the lookback was
        else:
            weight = scale[:, :0]

        static_present = panel.static_reals_present.index_select(0, series)
        missing, past_mask = self._find_masks(location.missing, present, categories[:, :L], static_present)
        if present is None:
            present = torch.empty((len(series), reals.shape[1], 0), dtype=torch.bool, device=panel.device)
        past_present, known_present = present[:, :L], present[:, L:, panel.num_observed :]
        return Batch(
            static_real=panel.static_reals.index_select(0, series),
            static_cat=panel.static_categories.index_select(0, series).long(),
            past_real=self._append_position(reals[:, :L], slice(None, L)),
            past_cat=categories[:, :L].long(),
            future_real=self._append_position(reals[:, L:, panel.num_observed :], slice(L, None)),
            future_cat=categories[:, L:, panel.num_observed_categories :].long(),
            static_real_present=static_present if missing & Missing.STATIC_REAL else static_present[:, :0],
            past_real_present=self._append_presence(past_present, missing, Missing.PAST_REAL),
            future_real_present=self._append_presence(known_present, missing, Missing.FUTURE_REAL),
            past_mask=present[:, 0, :0] if past_mask is None else past_mask,
            target=reals[:, L:, :Y].contiguous(),
            target_mask=present[:, L:, : Y if missing & Missing.TARGET else 0].contiguous(),
            center=center,
            scale=scale,
            weight=weight,
            sample_weight=self.gather_weights(location) if panel.weights.shape[1] else scale[:, :0],
            window=location.number,
        )

    def batches(self, windows: IntArray, size: int) -> Iterator[Batch]:
        """Yield the batches of windows [W], `size` at a time; the last may be smaller."""
        for begin in range(0, len(windows), size):
            yield self(windows[begin : begin + size])

    def gather_weights(self, location: WindowLocation) -> Tensor:
        """Return how much the steps to forecast count in the loss [B, H]."""
        L, outside = self.index.lookback, location.outside
        ahead = location._replace(rows=location.rows[:, L:], outside=None if outside is None else outside[:, L:])
        return _copy_rows(self.panel.weights, ahead)[:, :, 0]

    def locate(self, numbers: IntArray) -> WindowLocation:
        """Return where the rows of windows [B] lie: the host finds them, and sends numbers in one small copy."""
        ranges = RowRanges.locate(numbers, self.index, self.panel.indptr)
        number, series, first, begin, end = _send(np.stack((numbers, *ranges)), self.panel.device).unbind()
        rows = first[:, None] + self.steps
        outside: Tensor | None = None
        if not ranges.all_inside(0, len(self.steps)):
            outside = ((rows < begin[:, None]) | (rows >= end[:, None]))[:, :, None]
            rows = rows.clamp(0, len(self.panel.reals) - 1)  # rows outside are cleared anyway
        return WindowLocation(number, series, rows, outside, self.find_missing(ranges))

    def find_missing(self, ranges: RowRanges) -> Missing | None:  # noqa: ARG002  for panels on a device
        """Return what is missing in windows, if that is known without reading their values."""
        return None

    def _find_masks(
        self, missing: Missing | None, present: Tensor | None, categories: Tensor, static_present: Tensor
    ) -> tuple[Missing, Tensor | None]:
        """Return what is missing in a batch, and the mask of its past steps [B, L]; None where none is empty.

        `missing` is the location's, if it is known beforehand; `present` is [B, T, V], None for all; `categories`
        [B, L, V] are those of the past; `static_present` is [B, V], or [B, 0] for all.
        """
        L = self.index.lookback
        if missing is not None:
            if present is None or not missing & Missing.PAST_STEP:
                return missing, None
            return missing, present[:, :L].any(dim=2) | (categories != 0).any(dim=2)
        missing = Missing.NONE if _all(static_present) else Missing.STATIC_REAL
        if present is None:
            return missing, None
        past, future = present[:, :L], present[:, L:]
        past_mask = _mask_empty_steps(past, categories)
        if not _all(past_mask):
            missing |= Missing.PAST_STEP
            past = past | ~past_mask[:, :, None]  # masked steps are never read
        if not _all(past):
            missing |= Missing.PAST_REAL
        if not _all(future[:, :, self.panel.num_observed :]):
            missing |= Missing.FUTURE_REAL
        if not _all(future[:, :, : self.panel.num_targets]):
            missing |= Missing.TARGET
        return missing, past_mask if missing & Missing.PAST_STEP else None

    def _append_position(self, reals: Tensor, steps: slice) -> Tensor:
        if self.position is None:
            return reals.contiguous()
        V = reals.shape[2]
        joined = reals.new_empty((*reals.shape[:2], V + 1))  # two copies: a third of the time of torch.cat
        joined[:, :, :V] = reals
        joined[:, :, V:] = self.position[:, steps]
        return joined

    def _append_presence(self, present: Tensor, missing: Missing, kind: Missing) -> Tensor:
        """Return the mask with a column for the relative position, or with width 0 where nothing is missing."""
        if not missing & kind:
            return present[:, :, :0]
        if self.position is None:
            return present.contiguous()
        return torch.cat((present, present.new_ones((*present.shape[:2], 1))), dim=2)


class RowRanges(NamedTuple):
    """The ranges of rows that windows cover, int64 [B] each, on the host."""

    series: IntArray
    first: IntArray  # row of the panel at which the window begins; it may lie outside the series
    begin: IntArray  # first row of the series in the panel
    end: IntArray  # row after its last

    @classmethod
    def locate(cls, numbers: IntArray, index: WindowIndex, indptr: IntArray) -> Self:
        """Return the rows of windows, numbered as in the index."""
        series, cutoff = index.locate(numbers)
        begin, end = indptr[series], indptr[series + 1]
        return cls(series, begin + cutoff - index.lookback, begin, end)

    def all_inside(self, start: int, stop: int) -> bool:
        """Return whether the steps [start, stop) of all windows are rows of their series."""
        return not bool(((self.first + start < self.begin) | (self.first + stop > self.end)).any())


def relative_positions(lookback: int, horizon: int, device: torch.device) -> Tensor:
    """Return the relative positions [T] of the steps of a window."""
    steps = torch.arange(lookback + horizon, dtype=torch.float32) - lookback
    return (steps / max(lookback, horizon)).to(device)


def _copy_rows(array: Tensor, location: WindowLocation) -> Tensor:
    """Copy the rows of windows, cleared where they are outside the series: ``[N, V] -> [B, T, V]``."""
    copied = array.index_select(0, location.rows.flatten()).view(*location.rows.shape, array.shape[1])
    return copied if location.outside is None else copied.masked_fill_(location.outside, 0)


def _send(numbers: IntArray, device: torch.device) -> Tensor:
    """Copy to a device without waiting: a GPU reads pinned memory when it comes to that."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _to_tensor(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Share an array's memory, or copy it to another device; arrays may be read-only, none is written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _mask_empty_steps(present: Tensor, categories: Tensor) -> Tensor:
    """Return the steps [B, L] at which any variable of the row is present.

    Column by column, from the last category back, since the calendar is always present: the first column usually
    suffices, and reductions over a short last dimension are slow.
    """
    columns = [*categories.unbind(2)[::-1], *present.unbind(2)]
    step = columns[0] != 0
    for column in columns[1:]:
        if _all(step):
            break
        step = step | (column != 0)
    return step.contiguous()


def _all(mask: Tensor) -> bool:
    return bool(mask.numpy().all())  # ten times as fast as torch
