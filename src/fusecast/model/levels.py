"""Numbers known to Python, such as quantile levels, put where a tensor is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def as_levels(levels: Sequence[float], like: Tensor) -> Tensor:
    """Give levels [Q] on the device of a tensor, and of its type; on a GPU, the host does not wait for it.

    It would with ``torch.tensor``: what that makes is copied from memory that is not pinned, the copy is waited for,
    and so is everything that the device was told before. Hence the device fills in each number by itself.
    """
    if like.device.type == "cpu":
        return torch.tensor(tuple(levels), dtype=like.dtype)
    return torch.cat([like.new_full((1,), level) for level in levels])
