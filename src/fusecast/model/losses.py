"""The quantile loss (equations 24 and 25)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def quantile_loss(
    quantiles: Tensor, target: Tensor, mask: Tensor, levels: Sequence[float], weight: Tensor | None = None
) -> Tensor:
    """Pinball loss, summed over the quantile levels and averaged over the entries that count.

        loss_q = q * max(0, y - y_q) + (1 - q) * max(0, y_q - y)

    Parameters
    ----------
    quantiles
        float ``[B, H, Y, Q]``.
    target
        float ``[B, H, Y]``; values that do not count may be anything.
    mask
        bool ``[B, H, Y]``, True where an entry counts; width 0, ``[B, H, 0]``, when all do.
    levels
        The Q quantile levels.
    weight
        float ``[B, Y]``: what an error of 1 counts; None, or width 0, when all count alike.

    Returns
    -------
    A scalar; 0, with gradient 0, where nothing counts. Float32 at least.
    """
    dtype = torch.promote_types(quantiles.dtype, torch.float32)
    level = torch.tensor(levels, dtype=dtype, device=quantiles.device)
    error = target.to(dtype).unsqueeze(-1) - quantiles.to(dtype)
    if weight is not None and weight.shape[-1]:
        error = error * weight.to(dtype)[:, None, :, None]
    if mask.shape[-1] == 0:
        count = torch.tensor(target.numel(), device=target.device)
    else:
        error = error.masked_fill(~mask.unsqueeze(-1), 0.0)
        count = mask.sum()
    return torch.maximum(level * error, (level - 1) * error).sum() / count.clamp(min=1)
