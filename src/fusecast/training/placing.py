"""Where the panel lies while a network is trained or predicts: on the network's device, where it fits there."""

from __future__ import annotations

import torch

from fusecast.features.encoded import EncodedPanel
from fusecast.windows.index import WindowIndex
from fusecast.windows.resident import ResidentPanel, bytes_on_device

SHARE = 0.5
"""Of a device's free memory that a panel may take by itself; the rest is the network's."""


def place(encoded: EncodedPanel, device: torch.device, asked: bool | None = None) -> EncodedPanel | ResidentPanel:
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
                return ResidentPanel(encoded, device)
            except torch.OutOfMemoryError:  # somebody else was faster
                return encoded
    return ResidentPanel(encoded, device) if asked else encoded


def pays(encoded: EncodedPanel, index: WindowIndex) -> bool:
    """Whether the windows, each looked at once, hold more rows than the panel: then they overlap, or are all of it."""
    return len(index) * (index.lookback + index.horizon) >= len(encoded.reals)


def free_bytes(device: torch.device) -> int | None:
    """Bytes free on a CUDA device, what torch keeps for later use counted in; None on other devices."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
