"""Gather: numbered windows of an encoded panel become batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.device_gatherer import DeviceGatherer, DevicePanel
from fusecast.windows.native_gatherer import NativeGatherer
from fusecast.windows.panel_tensors import PanelTensors
from fusecast.windows.torch_gatherer import TorchGatherer
from fusecast.windows.window_index import WindowIndex

BYTES_AT_ONCE = 3 * 2**20
"""Of the batches that are gathered at once: enough to spread the cost of a call, few enough to stay in the caches."""


def gather(encoded: EncodedPanel, index: WindowIndex, windows: ArrayLike) -> Batch:
    """Cut the windows of these numbers out of a panel. See :class:`Gatherer`, which to keep when calling often."""
    return Gatherer(encoded, index)(windows)


def gatherer_of(source: EncodedPanel | DevicePanel, index: WindowIndex) -> Gatherer | DeviceGatherer:
    """Give what cuts windows out of a panel, be it on the host or on a device; the batches are where the panel is."""
    return DeviceGatherer(source, index) if isinstance(source, DevicePanel) else Gatherer(source, index)


class Gatherer:
    """Cuts windows out of one encoded panel: by a kernel in C where there is one, else as :class:`TorchGatherer` does.

    What a batch holds stands there. The arrays of the panel may be memory-mapped; only rows asked for are read.
    """

    def __init__(self, encoded: EncodedPanel, index: WindowIndex) -> None:
        self.plain = TorchGatherer(PanelTensors(encoded), index)
        self.filler = NativeGatherer(self.plain)

    def __call__(self, windows: ArrayLike) -> Batch:
        """Give the batch of windows [B] numbered as in the index.

        Raises
        ------
        IndexError
            When there is no window of such a number.
        """
        number = np.asarray(windows, dtype=np.int64)
        if not len(number) or not self.filler.usable():
            return self.plain(number)
        (batch,) = self.filler(number, len(number))
        return batch

    def batches(self, windows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Give the batches of windows [W], `size` at a time; the last may be smaller.

        Several are gathered at once, into memory of their own that is never written again: batches may be kept and
        changed. Neighbours lie side by side, so that one batch that is kept keeps the memory of a few.
        """
        if not self.filler.usable():
            for begin in range(0, len(windows), size):
                yield self.plain(windows[begin : begin + size])
            return
        together = size * max(1, BYTES_AT_ONCE // (size * self.filler.bytes_a_window))
        for begin in range(0, len(windows), together):
            yield from self.filler(windows[begin : begin + together], size)
