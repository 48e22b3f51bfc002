"""Gatherer: numbered windows of an encoded panel become batches, several by one call of a kernel in C."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fusecast.data.arrays import IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.kernels.bindings import GatherArguments, pointer
from fusecast.kernels.library import call, library
from fusecast.model.batch import Batch
from fusecast.windows.device_gatherer import DeviceGatherer, DevicePanel
from fusecast.windows.new_series import NewSeriesGatherer, has_new_windows
from fusecast.windows.torch_gatherer import Missing, PanelTensors, TorchGatherer
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import MIN_WINDOW_SCALE

MAX_BYTES_PER_CALL = 3 * 2**20
"""Bytes of the batches gathered by one call: enough to spread its cost, few enough to stay in the caches."""
MASKS = {
    "past_real_present": int(Missing.PAST_REAL),
    "past_mask": int(Missing.PAST_STEP),
    "future_real_present": int(Missing.FUTURE_REAL),
    "target_mask": int(Missing.TARGET),
    "static_real_present": int(Missing.STATIC_REAL),
}
"""The masks of a batch, each with the bit that is set where the batch needs it."""


def make_gatherer(
    source: EncodedPanel | DevicePanel, index: WindowIndex
) -> Gatherer | DeviceGatherer | NewSeriesGatherer:
    """Return the gatherer of a panel on the host or on a device; its batches are where the panel is."""
    encoded = source.encoded if isinstance(source, DevicePanel) else source
    gatherer: Gatherer | DeviceGatherer
    if isinstance(source, DevicePanel):
        gatherer = DeviceGatherer(source, index)
    else:
        gatherer = Gatherer(TorchGatherer(PanelTensors(source), index))
    return NewSeriesGatherer(gatherer, encoded, index) if has_new_windows(encoded, index) else gatherer


class Gatherer:
    """Gathers the batches of a :class:`TorchGatherer` on the host, with the kernel where there is one.

    The kernel's batches are the same bit for bit, except for what is scaled by the window: its sums over a lookback are
    in float64. Sample weights, where there are any, are gathered without it. The arrays of the panel may be
    memory-mapped; only rows of windows are read.
    """

    def __init__(self, plain: TorchGatherer) -> None:
        self.plain = plain
        index, panel = plain.index, plain.panel
        indptr = np.ascontiguousarray(panel.indptr, dtype=np.int64)
        last = index.first_cutoff + (index.counts - 1) * index.stride
        reaches_out = (index.first_cutoff < index.lookback) | (last + index.horizon > np.diff(indptr))
        masked = panel.reals_present.shape[1] or panel.static_reals_present.shape[1]
        self._needs_masks = bool(masked) or bool((reaches_out & (index.counts > 0)).any())
        first_cutoff = np.ascontiguousarray(index.first_cutoff)
        # by series, kept alive for the kernel
        self._series_arrays = tuple(torch.from_numpy(array) for array in (indptr, index.offsets, first_cutoff))
        self._shapes, self._dtypes = _field_shapes(plain, masks=self._needs_masks)
        self._filled = {name: s for name, s in self._shapes.items() if math.prod(s) and name != "window"}
        self._bytes_per_window = sum(math.prod(s) * self._dtypes[name].itemsize for name, s in self._shapes.items())
        fixed = _fixed_arguments(plain, *self._series_arrays) if library() is not None else b""
        self._arguments = bytes(fixed)
        self._empty_fields: dict[int, dict[str, Tensor]] = {}

    def __reduce__(self) -> tuple[type[Gatherer], tuple[TorchGatherer]]:
        return Gatherer, (self.plain,)  # the arguments hold addresses of this process

    def has_kernel(self) -> bool:
        """Return whether there is a kernel for these arrays."""
        panel = self.plain.panel
        expected = {
            torch.float32: (panel.reals, panel.static_reals),
            torch.bool: (panel.reals_present, panel.static_reals_present),
            torch.int32: (panel.categories, panel.static_categories),
        }
        return library() is not None and all(t.dtype == dtype for dtype, tensors in expected.items() for t in tensors)

    def __call__(self, windows: ArrayLike) -> Batch:
        """Return the batch of windows [B], numbered as in the index; raise an IndexError for numbers out of range."""
        numbers = np.asarray(windows, dtype=np.int64)
        if not len(numbers) or not self.has_kernel():
            return self.plain(numbers)
        return self._gather(numbers, len(numbers))[0]

    def batches(self, windows: IntArray, size: int) -> Iterator[Batch]:
        """Yield the batches of windows [W], `size` at a time; the last may be smaller.

        Several are gathered at once, into new memory that is never written again: batches may be kept and changed.
        They share that memory, so that one batch that is kept keeps the memory of a few.
        """
        if not self.has_kernel():
            yield from self.plain.batches(windows, size)
            return
        most = min(MAX_BYTES_PER_CALL // self._bytes_per_window, self.plain.panel.most_windows)
        per_call = size * max(1, int(most // size))
        for begin in range(0, len(windows), per_call):
            yield from self._gather(windows[begin : begin + per_call], size)

    def _gather(self, numbers: IntArray, size: int) -> list[Batch]:
        """Return the batches of windows [W] from one call of the kernel; W is not 0."""
        count, whole = len(numbers), (len(numbers) - 1) // size
        with torch.inference_mode(False):  # a batch may be trained on, though its neighbour was gathered for inference
            fields = {name: torch.empty((count, *s), dtype=self._dtypes[name]) for name, s in self._filled.items()}
            fields["window"] = torch.from_numpy(numbers.copy())
            missing = self._fill(fields, size)
            empty, empty_last = self._empty(size), self._empty(count - whole * size)
            columns: list[list[Tensor]] = []  # by field, then by batch
            for name in Batch._fields:
                bit, empties = MASKS.get(name), [empty[name]] * whole + [empty_last[name]]
                needed = [name in fields and (bit is None or bool(bits & bit)) for bits in missing]
                # not views of a common tensor to autograd: each batch may be changed without the others
                parts = torch.unsafe_split(fields[name], size) if any(needed) else empties
                columns.append([part if need else e for part, e, need in zip(parts, empties, needed, strict=True)])
        return [Batch._make(values) for values in zip(*columns, strict=True)]

    def _fill(self, fields: dict[str, Tensor], size: int) -> list[int]:
        """Fill the fields; return what each batch lacks, as :class:`Missing`."""
        numbers = fields["window"]
        count, num_batches = len(numbers), (len(numbers) - 1) // size + 1
        missing = torch.empty(count + num_batches, dtype=torch.uint8) if self._needs_masks else None
        arguments = GatherArguments.from_buffer_copy(self._arguments)
        arguments.windows, arguments.batch = count, size
        arguments.number, arguments.lack = pointer(numbers), pointer(missing)
        for name in self._filled:
            if name != "sample_weight":
                setattr(arguments, f"to_{name}", fields[name].data_ptr())
        call("gather", arguments)
        if arguments.wrong:
            self.plain.index.locate(numbers.numpy())  # raises the error with the numbers that exist
        if "sample_weight" in self._filled:
            fields["sample_weight"].copy_(self.plain.gather_weights(self.plain.locate(numbers.numpy())))
        self.plain.panel.count(count)
        return [0] * num_batches if missing is None else missing[count:].tolist()

    def _empty(self, size: int) -> dict[str, Tensor]:
        """Return every field at width 0; such tensors hold nothing, so that batches share them."""
        if size not in self._empty_fields:
            self._empty_fields[size] = {
                name: torch.empty((size, *s[:-1], 0), dtype=self._dtypes[name]) for name, s in self._shapes.items()
            }
        return self._empty_fields[size]


def _fixed_arguments(plain: TorchGatherer, indptr: Tensor, offsets: Tensor, cutoff: Tensor) -> GatherArguments:
    """Return the arguments that are the same for all batches; the tensors have to outlive them."""
    index, panel = plain.index, plain.panel
    return GatherArguments(
        series=len(cutoff),
        stride=index.stride,
        lookback=index.lookback,
        horizon=index.horizon,
        reals=panel.reals.shape[1],
        targets=panel.num_targets,
        observed=panel.num_observed,
        categories=panel.categories.shape[1],
        observed_categories=panel.num_observed_categories,
        static_reals=panel.static_reals.shape[1],
        static_categories=panel.static_categories.shape[1],
        scaled=panel.window_scaling != "none",
        count_of_center=plain.count_of_center,
        floor=MIN_WINDOW_SCALE,
        indptr=pointer(indptr),
        offsets=pointer(offsets),
        cutoff=pointer(cutoff),
        real=pointer(panel.reals),
        present=pointer(panel.reals_present) if panel.reals_present.shape[1] else None,
        category=pointer(panel.categories),
        static_real=pointer(panel.static_reals),
        static_present=pointer(panel.static_reals_present) if panel.static_reals_present.shape[1] else None,
        static_category=pointer(panel.static_categories),
        center=pointer(panel.center),
        scale=pointer(panel.scale),
        position=pointer(plain.position),
    )


def _field_shapes(plain: TorchGatherer, *, masks: bool) -> tuple[dict[str, tuple[int, ...]], dict[str, torch.dtype]]:
    """Return the shape of one window and the type of each field; the masks have full width, or 0."""
    fields = plain(())._asdict()
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in fields.items()}
    shapes["static_real_present"] = (plain.panel.static_reals_present.shape[1],)
    if masks:
        full = {"past_real_present": "past_real", "future_real_present": "future_real", "target_mask": "target"}
        shapes |= {mask: shapes[name] for mask, name in full.items()} | {"past_mask": (plain.index.lookback,)}
    return shapes, {name: tensor.dtype for name, tensor in fields.items()}
