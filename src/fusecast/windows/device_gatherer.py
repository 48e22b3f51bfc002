"""Batches cut from a panel on the device of the network, and the decision whether the panel is copied there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.panel_tensors import PanelTensors
from fusecast.windows.torch_gatherer import Cut, MissingMasks, Runs, TorchGatherer, WindowLocation
from fusecast.windows.window_index import WindowIndex

STEP, PAST, KNOWN, TARGET, STATIC = 1, 2, 4, 8, 16
"""What a row, a series or a batch lacks: everything; a real, but not everything; a known real; a target; a static."""
ROWS_AT_ONCE = 2**20


class DevicePanel(PanelTensors):
    """An encoded panel on a device, for all gatherers of its windows to share.

    On the host remain the bounds of the series and, where values are missing, a byte a row that says of which kind.
    """

    def __init__(self, encoded: EncodedPanel, device: torch.device) -> None:
        super().__init__(encoded, device)
        self.encoded = encoded
        missing = missing_by_row(encoded)
        self.missing = None if missing is None else torch.from_numpy(missing)  # uint8 [N, 1], on the host
        self.static_missing = np.asarray((~encoded.static_reals_present).any(axis=1))  # bool [S]

    def release(self) -> None:
        """Give the device's memory back, whoever still knows this panel; no window can be cut out of it any more."""
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value.new_empty(0))


def bytes_on_device(encoded: EncodedPanel) -> int:
    """Bytes that a panel takes on a device. By its shapes alone: nothing is read."""
    of_rows = (encoded.reals, encoded.reals_present, encoded.categories)
    of_series = (encoded.static_reals, encoded.static_reals_present, encoded.static_categories)
    return sum(array.nbytes for array in (*of_rows, *of_series)) + 4 * (encoded.center.size + encoded.scale.size)


def missing_by_row(encoded: EncodedPanel) -> NDArray[np.uint8] | None:
    """Say of each row [N, 1] what it lacks, as a sum of the bits above; None where no real is missing anywhere."""
    if not encoded.reals_present.shape[1]:
        return None
    observed = len(encoded.inputs.targets) + len(encoded.inputs.observed_reals)
    found = np.empty((len(encoded.reals), 1), dtype=np.uint8)
    for begin in range(0, len(found), ROWS_AT_ONCE):
        rows = slice(begin, begin + ROWS_AT_ONCE)
        present = encoded.reals_present[rows]
        nothing = ~(present.any(axis=1) | (encoded.categories[rows] != 0).any(axis=1))
        found[rows, 0] = (
            STEP * nothing
            + PAST * (~present.all(axis=1) & ~nothing)
            + KNOWN * ~present[:, observed:].all(axis=1)
            + TARGET * ~present[:, : len(encoded.inputs.targets)].all(axis=1)
        )
    return found


class DeviceGatherer(TorchGatherer):
    """Gives the batches of a :class:`TorchGatherer` on the device of the panel, widths of masks included.

    The host finds the rows, from cutoffs and lengths, and sends their numbers over in one small copy a batch. It asks
    the device for nothing, and so may run ahead of it: which masks are needed follows from where the rows are, and from
    what it kept of them.
    """

    panel: DevicePanel

    def __init__(self, panel: DevicePanel, index: WindowIndex) -> None:
        super().__init__(panel, index)
        self.steps = torch.arange(index.lookback + index.horizon, device=panel.device)

    def batches(self, windows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Give the batches of windows [W], `size` at a time; the last may be smaller."""
        for begin in range(0, len(windows), size):
            yield self(windows[begin : begin + size])

    def locate(self, number: NDArray[np.int64]) -> WindowLocation:
        """Find the rows of windows [B], and what is missing in them."""
        runs = Runs.of(number, self.index, self.panel.indptr)
        sent = _send(np.stack((number, runs.series, runs.first, runs.begin, runs.end)), self.panel.device)
        on_device, series, first, begin, end = sent.unbind()
        rows = first[:, None] + self.steps  # [B, T]
        inside: Tensor | None = None
        if not runs.all_inside(0, len(self.steps)):
            inside = (rows >= begin[:, None]) & (rows < end[:, None])
            rows = rows.clamp(0, len(self.panel.reals) - 1)  # beyond an end of the panel, any row will do
        cut = Cut(rows.flatten(), len(self.steps), inside, by_row=True)
        return WindowLocation(on_device, series, inside, cut, self._lacks(runs))

    def look(
        self,
        located: WindowLocation,
        present: Tensor | None,
        categories: Tensor,
        static_present: Tensor,  # noqa: ARG002  known beforehand
    ) -> MissingMasks:
        """Say what is known to be missing; only the mask of the past's steps is made of values, on the device."""
        step: Tensor | None = None
        if located.lacks & STEP and present is not None:
            step = present[:, : self.index.lookback].any(dim=2) | (categories != 0).any(dim=2)
        past, known, target, static = (bool(located.lacks & bit) for bit in (PAST, KNOWN, TARGET, STATIC))
        return MissingMasks(step, past, known, target, static)

    def _lacks(self, runs: Runs) -> int:
        """Add up the bits of what is missing in the windows."""
        panel, L, T = self.panel, self.index.lookback, len(self.steps)
        lacks = 0 if runs.all_inside(0, L) else STEP
        if not runs.all_inside(L, T):
            lacks |= TARGET | (KNOWN if panel.reals.shape[1] > panel.num_observed else 0)
        if panel.missing is not None:
            of_rows = runs.cut(T, runs.inside(T), len(panel.missing))(panel.missing).numpy()  # [B, T, 1]
            lacks |= int(np.bitwise_or.reduce(of_rows[:, :L], axis=None)) & (STEP | PAST)
            lacks |= int(np.bitwise_or.reduce(of_rows[:, L:], axis=None)) & (KNOWN | TARGET)
        if panel.static_missing[runs.series].any():
            lacks |= STATIC
        return lacks


def _send(numbers: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy to a device without waiting: a GPU fetches it from pinned memory when it comes to that."""
    sent = torch.from_numpy(numbers)
    return sent.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else sent.to(device)


SHARE = 0.5
"""Of a device's free memory that a panel may take by itself; the rest is the network's."""


def maybe_move_to_device(
    encoded: EncodedPanel, device: torch.device, asked: bool | None = None
) -> EncodedPanel | DevicePanel:
    """Copy a panel to a device where that is asked for or, where None is, where it fits; else give it as it is.

    By itself this happens on CUDA alone. On a CPU the panel is where it has to be, and a kernel cuts its windows. On
    MPS device and host share one memory, in which a second copy would save little, and what of it is free is not told.

    Nothing of a panel that stays is read: arrays mapped from a file stay in their file.

    Parameters
    ----------
    asked
        True for any device, whatever is free there; False for none.
    """
    if asked is None:
        free = free_bytes(device)
        asked = free is not None and bytes_on_device(encoded) <= SHARE * free
        if asked:
            try:
                return DevicePanel(encoded, device)
            except torch.OutOfMemoryError:  # somebody else was faster
                return encoded
    return DevicePanel(encoded, device) if asked else encoded


def is_worth_copying(encoded: EncodedPanel, index: WindowIndex) -> bool:
    """Whether the windows, each looked at once, hold more rows than the panel: then they overlap, or are all of it."""
    return len(index) * (index.lookback + index.horizon) >= len(encoded.reals)


def free_bytes(device: torch.device) -> int | None:
    """Bytes free on a CUDA device, what torch keeps for later use counted in; None on other devices."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
