"""What a forward pass keeps for its backward pass, where there is room; without it, the backward pass computes it anew."""

from __future__ import annotations

from torch import Tensor

KEEP_UP_TO = 2**27
"""Bytes that one call may keep. Computing anew costs a quarter more products; memory grows with rows and variables."""

Kept = tuple[Tensor, Tensor]
"""Per row: the hidden map after dropout ``[rows, dp]``, and values and open gates ``[rows, 2 op]``; padded widths."""


def room_to_keep(like: Tensor, rows: int, d: int, out: int) -> Kept | None:
    """Give the room for `rows` rows, or None where they are too many."""
    width, gates = _padded(d), 2 * _padded(out)
    if rows * (width + gates) * like.element_size() > KEEP_UP_TO:
        return None
    return like.new_empty(rows, width), like.new_empty(rows, gates)


def pointers(kept: Kept | None) -> tuple[int | None, int | None]:
    """Address of each of the two; None where nothing is kept."""
    return (None, None) if kept is None else (kept[0].data_ptr(), kept[1].data_ptr())


def _padded(width: int) -> int:
    return (width + 15) // 16 * 16
