"""The quantile loss (equations 24 and 25) and the negative log-likelihood of a distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusecast.model.batch import Batch


def quantile_loss(
    quantiles: Tensor,
    target: Tensor,
    mask: Tensor,
    levels: Sequence[float],
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Compute the pinball loss, summed over levels and averaged over the entries that count (equations 24 and 25).

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
        float ``[B, Y]``: factor of the errors; None, or width 0, when all count alike.
    sample_weight
        float ``[B, H]``: how much each step counts, likewise. The sum is divided by the number of entries, not by the
        sum of their weights, so that those of different batches count beside each other.

    Returns
    -------
    A scalar; 0, with gradient 0, where nothing counts. Float32 at least.
    """
    dtype = torch.promote_types(quantiles.dtype, torch.float32)
    error = target.to(dtype).unsqueeze(-1) - quantiles.to(dtype)
    level = as_levels(levels, error)
    if weight is not None and weight.shape[-1]:
        error = error * weight.to(dtype)[:, None, :, None]
    count: Tensor | int = max(1, target.numel())
    if mask.shape[-1]:
        error = error.masked_fill(~mask.unsqueeze(-1), 0.0)
        count = mask.sum().clamp(min=1)
    loss = torch.maximum(level * error, (level - 1) * error)
    if sample_weight is not None and sample_weight.shape[-1]:
        loss = loss * sample_weight.to(dtype)[:, :, None, None]
    return loss.sum() / count


def likelihood_loss(
    log_prob: Tensor, mask: Tensor, weight: Tensor | None = None, sample_weight: Tensor | None = None
) -> Tensor:
    """Compute the negative log-likelihood, averaged over the entries that count, as in :func:`quantile_loss`.

    `log_prob` is float ``[B, H, Y]``, and finite where an entry does not count; `mask` is that of
    :func:`quantile_loss`. `weight` is how much the entries of a window count; it does not scale errors: a density in
    other units differs by a constant. But a window counts for as much of the sum as its pinball loss would: in
    proportion to its scale. Since that scale is known before the forecast, such weights do not bias the distribution.
    `sample_weight` is that of :func:`quantile_loss`.
    """
    loss = -log_prob.to(torch.promote_types(log_prob.dtype, torch.float32))
    if weight is not None and weight.shape[-1]:
        loss = loss * weight.to(loss.dtype)[:, None]
    if sample_weight is not None and sample_weight.shape[-1]:
        loss = loss * sample_weight.to(loss.dtype)[:, :, None]
    if mask.shape[-1] == 0:
        return loss.mean()
    return loss.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def mean_sample_weight(batch: Batch) -> Tensor:
    """Return the mean weight [] of the entries of a batch that count; 0 where none does."""
    weight = batch.sample_weight.to(torch.promote_types(batch.sample_weight.dtype, torch.float32))
    if batch.target_mask.shape[-1] == 0:
        return weight.mean()
    return (weight.unsqueeze(-1) * batch.target_mask).sum() / batch.target_mask.sum().clamp(min=1)


def as_levels(levels: Sequence[float], like: Tensor) -> Tensor:
    """Return levels ``[Q]`` with device and type of a tensor, without synchronising with a GPU.

    ``torch.tensor`` would copy from memory that is not pinned, which waits for everything queued on the device. Hence
    the device fills in each number.
    """
    if like.device.type == "cpu":
        return torch.tensor(tuple(levels), dtype=like.dtype)
    return torch.cat([like.new_full((1,), level) for level in levels])
