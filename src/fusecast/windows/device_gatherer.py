"""Batches gathered from a panel on the device of the network, and the decision whether the panel is copied there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from fusecast.features.encoded_panel import EncodedPanel
from fusecast.windows.torch_gatherer import Missing, PanelTensors, RowRanges, TorchGatherer
from fusecast.windows.window_index import WindowIndex

MAX_SHARE_OF_FREE_MEMORY = 0.5
"""Share of a device's free memory that a panel may take without being requested; the network needs the rest."""
ROWS_PER_SCAN = 2**20
"""Rows whose missing values are looked up at once."""


class DevicePanel(PanelTensors):
    """An encoded panel on a device, shared by all gatherers of its windows.

    The bounds of the series stay on the host and, where values are missing, a byte a row: what it lacks.
    """

    def __init__(self, encoded: EncodedPanel, device: torch.device) -> None:
        super().__init__(encoded, device)
        self.encoded = encoded
        self.missing = find_missing_by_row(encoded)  # uint8 [N], on the host
        self.static_missing = np.asarray((~encoded.static_reals_present).any(axis=1))  # bool [S]

    def __repr__(self) -> str:
        return f"DevicePanel({self.encoded!r}, device={str(self.device)!r})"

    def release(self) -> None:
        """Free the memory of the device, whoever still refers to this panel; no window can be gathered any more."""
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value.new_empty(0))


class DeviceGatherer(TorchGatherer):
    """Gathers the batches of a :class:`TorchGatherer` on the device of the panel, widths of masks included.

    It reads nothing from the device, so it never waits for it: which masks are needed follows from where the rows are,
    and from the byte a row that stayed on the host.
    """

    panel: DevicePanel

    def find_missing(self, ranges: RowRanges) -> Missing:
        """Return what is missing in windows."""
        panel, L, T = self.panel, self.index.lookback, self.index.lookback + self.index.horizon
        missing = Missing.NONE if ranges.all_inside(0, L) else Missing.PAST_STEP
        if not ranges.all_inside(L, T):
            missing |= Missing.TARGET
            if panel.reals.shape[1] > panel.num_observed:
                missing |= Missing.FUTURE_REAL
        if panel.missing is not None:
            by_step = _missing_by_step(panel.missing, ranges, T)
            past, future = (int(np.bitwise_or.reduce(part, axis=None)) for part in (by_step[:, :L], by_step[:, L:]))
            missing |= past & (Missing.PAST_REAL | Missing.PAST_STEP)
            missing |= future & (Missing.FUTURE_REAL | Missing.TARGET)
        if panel.static_missing[ranges.series].any():
            missing |= Missing.STATIC_REAL
        return missing


def maybe_move_to_device(
    encoded: EncodedPanel, device: torch.device, requested: bool | None = None
) -> EncodedPanel | DevicePanel:
    """Copy a panel to a device if that is requested (True) or, with None, if it fits; else return the panel itself.

    With None this happens on CUDA alone. On a CPU the panel is where it has to be, and a kernel gathers its windows. On
    MPS, device and host share one memory, in which a second copy would save little, and its free part is unknown.

    A panel that stays is not read: arrays mapped from a file stay in their file.
    """
    if requested is not None:
        return DevicePanel(encoded, device) if requested else encoded
    free = free_bytes(device)
    if free is None or bytes_on_device(encoded) > MAX_SHARE_OF_FREE_MEMORY * free:
        return encoded
    try:
        return DevicePanel(encoded, device)
    except torch.OutOfMemoryError:  # another process was faster
        return encoded


def is_worth_copying(encoded: EncodedPanel, index: WindowIndex) -> bool:
    """Return whether the windows together hold more rows than the panel: then they overlap, or cover all of it."""
    return len(index) * (index.lookback + index.horizon) >= len(encoded.reals)


def bytes_on_device(encoded: EncodedPanel) -> int:
    """Return the bytes that a panel takes on a device, from its shapes alone: nothing is read."""
    arrays = (
        *(encoded.reals, encoded.reals_present, encoded.categories),
        *(encoded.static_reals, encoded.static_reals_present, encoded.static_categories, encoded.weights),
    )
    return sum(array.nbytes for array in arrays) + 4 * (encoded.center.size + encoded.scale.size)


def free_bytes(device: torch.device) -> int | None:
    """Return the free bytes of a CUDA device, including what torch keeps for later use; None for other devices."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def find_missing_by_row(encoded: EncodedPanel) -> NDArray[np.uint8] | None:
    """Return what each row lacks [N], as :class:`Missing`; None where no real is missing anywhere."""
    if not encoded.reals_present.shape[1]:
        return None
    num_targets = len(encoded.inputs.targets)
    num_observed = num_targets + len(encoded.inputs.observed_reals)
    missing = np.empty(len(encoded.reals), dtype=np.uint8)
    for begin in range(0, len(missing), ROWS_PER_SCAN):
        rows = slice(begin, begin + ROWS_PER_SCAN)
        present = encoded.reals_present[rows]
        empty = ~(present.any(axis=1) | (encoded.categories[rows] != 0).any(axis=1))
        missing[rows] = (
            int(Missing.PAST_STEP) * empty
            + int(Missing.PAST_REAL) * (~present.all(axis=1) & ~empty)
            + int(Missing.FUTURE_REAL) * ~present[:, num_observed:].all(axis=1)
            + int(Missing.TARGET) * ~present[:, :num_targets].all(axis=1)
        )
    return missing


def _missing_by_step(missing: NDArray[np.uint8], ranges: RowRanges, length: int) -> NDArray[np.uint8]:
    """Return what the rows of windows lack [B, T], as :class:`Missing`; nothing in rows outside the series."""
    first, steps = ranges.first[:, None], np.arange(length)
    if len(first) and first.min() >= 0 and first.max() + length <= len(missing):
        by_step = sliding_window_view(missing, length)[ranges.first]  # a fifth of the time of an index a row
    else:
        by_step = missing[(first + steps).clip(0, len(missing) - 1)]
    if not ranges.all_inside(0, length):
        by_step[(first + steps < ranges.begin[:, None]) | (first + steps >= ranges.end[:, None])] = 0
    return by_step
