"""Softmax that is safe in half precision and with nothing to choose from."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_softmax(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Softmax over the last dimension, in float32 at least, over the allowed entries only.

    `allowed` is bool, broadcasts to `logits`; None allows all. What is not allowed gets exactly 0; a row with nothing
    allowed is all 0, with gradient 0 and no NaN.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if allowed is None:
        return logits.softmax(dim=-1)
    # A row of -inf alone would be NaN, in the backward pass too, so such a row keeps its logits until the end.
    choosable = allowed | ~allowed.any(dim=-1, keepdim=True)
    return logits.masked_fill(~choosable, -torch.inf).softmax(dim=-1).masked_fill(~allowed, 0.0)
