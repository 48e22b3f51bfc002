"""Which variables of a batch are present, and a softmax over what is present."""

from __future__ import annotations

import torch
from torch import Tensor

from fusecast.model.batch import Batch


def masked_softmax(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Compute the softmax over the allowed entries of the last dimension, in float32 at least.

    `allowed` is bool and broadcasts to `logits`; None allows all. Entries that are not allowed become exactly 0; a row
    with none allowed is all 0, with gradient 0 and no NaN.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if allowed is None:
        return logits.softmax(dim=-1)
    # A row of -inf alone would be NaN, in the backward pass too, so such a row keeps its logits until the end.
    unmasked = allowed | ~allowed.any(dim=-1, keepdim=True)
    return logits.masked_fill(~unmasked, -torch.inf).softmax(dim=-1).masked_fill(~allowed, 0.0)


def static_presence(batch: Batch) -> Tensor | None:
    """Return which static variables are present, bool ``[B, V]``; None when nothing is missing."""
    return _presence(batch.static_real_present, batch.static_real, batch.static_cat, None)


def past_presence(batch: Batch) -> Tensor | None:
    """Return which past variables are present, bool ``[B, L, V]``; None when nothing is missing."""
    steps = batch.past_mask if batch.past_mask.shape[-1] else None
    return _presence(batch.past_real_present, batch.past_real, batch.past_cat, steps)


def future_presence(batch: Batch) -> Tensor | None:
    """Return which future variables are present, bool ``[B, H, V]``; None when nothing is missing."""
    return _presence(batch.future_real_present, batch.future_real, batch.future_cat, None)


def _presence(real_present: Tensor, reals: Tensor, codes: Tensor, steps: Tensor | None) -> Tensor | None:
    """Return which variables are present: bool ``[..., V]``, reals first, or None when nothing is missing.

    A category is always present (missing is a code of its own), unless its whole step is masked.
    """
    has_mask = real_present.shape[-1] > 0
    if not has_mask and steps is None:
        return None
    reals_present = real_present if has_mask else torch.ones_like(reals, dtype=torch.bool)
    present = torch.cat((reals_present, torch.ones_like(codes, dtype=torch.bool)), dim=-1)
    return present if steps is None else present & steps.unsqueeze(-1)
