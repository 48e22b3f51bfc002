"""What a forward pass keeps for its backward pass, where there is room; elsewhere that pass computes it anew."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from torch import Tensor

from fusecast.model.kernels.native import padded

KEEP_UP_TO = 2**27
"""Bytes that one call may keep. Computing anew costs a quarter more products; memory grows with rows and variables."""


class Kept(NamedTuple):
    """Per row: the hidden map after dropout ``[rows, dp]``; values and open gates ``[rows, 2 op]``; widths padded."""

    z: Tensor
    gates: Tensor


def room_to_keep(like: Tensor, networks: int, rows: int, d: int, out: int) -> list[Kept] | None:
    """Give the room for `rows` rows of each network, or None where they are too many.

    Each network has tensors of its own: glibc keeps the memory of freed ones only up to a size.
    """
    width, gates = padded(d), 2 * padded(out)
    if networks * rows * (width + gates) * like.element_size() > KEEP_UP_TO:
        return None
    return [Kept(like.new_empty(rows, width), like.new_empty(rows, gates)) for _ in range(networks)]


def hand_over(kept: list[Kept] | None, arguments: Any) -> None:
    """Point the arguments of a kernel to what is kept; they hold the addresses as long as they live."""
    if kept is None:
        return
    array: Any = ctypes.c_void_p * len(kept)
    arguments.addresses = array(*(one.z.data_ptr() for one in kept)), array(*(one.gates.data_ptr() for one in kept))
    arguments.kept_z, arguments.kept_gates = map(ctypes.addressof, arguments.addresses)
