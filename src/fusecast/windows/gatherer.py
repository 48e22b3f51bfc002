"""Gatherer: numbered windows of an encoded panel become batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from fusecast.data.arrays import IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.device_gatherer import DeviceGatherer, DevicePanel
from fusecast.windows.native_gatherer import NativeGatherer
from fusecast.windows.torch_gatherer import PanelTensors, TorchGatherer
from fusecast.windows.window_index import WindowIndex

MAX_BYTES_PER_CALL = 3 * 2**20
"""Bytes of the batches gathered by one call: enough to spread its cost, few enough to stay in the caches."""


def make_gatherer(source: EncodedPanel | DevicePanel, index: WindowIndex) -> Gatherer | DeviceGatherer:
    """Return the gatherer of a panel on the host or on a device; its batches are where the panel is."""
    return DeviceGatherer(source, index) if isinstance(source, DevicePanel) else Gatherer(source, index)


class Gatherer:
    """Gathers windows of one encoded panel, with a kernel in C where there is one, else with :class:`TorchGatherer`.

    What a batch holds is defined there. The arrays of the panel may be memory-mapped; only rows of windows are read.
    """

    def __init__(self, encoded: EncodedPanel, index: WindowIndex) -> None:
        self.plain = TorchGatherer(PanelTensors(encoded), index)
        self.native = NativeGatherer(self.plain)

    def __call__(self, windows: ArrayLike) -> Batch:
        """Return the batch of windows [B], numbered as in the index.

        Raises
        ------
        IndexError
            When there is no window of such a number.
        """
        numbers = np.asarray(windows, dtype=np.int64)
        if not len(numbers) or not self.native.is_usable():
            return self.plain(numbers)
        (batch,) = self.native(numbers, len(numbers))
        return batch

    def batches(self, windows: IntArray, size: int) -> Iterator[Batch]:
        """Yield the batches of windows [W], `size` at a time; the last may be smaller.

        Several are gathered at once, into new memory that is never written again: batches may be kept and changed.
        They share that memory, so that one batch that is kept keeps the memory of a few.
        """
        if not self.native.is_usable():
            yield from self.plain.batches(windows, size)
            return
        per_call = size * max(1, MAX_BYTES_PER_CALL // (size * self.native.bytes_per_window))
        for begin in range(0, len(windows), per_call):
            yield from self.native(windows[begin : begin + per_call], size)
