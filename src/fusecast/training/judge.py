"""How far a forecast is off, in scaled units."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fusecast.batch import Batch


def median_error(quantiles: Tensor, batch: Batch, levels: Sequence[float]) -> Tensor:
    """Mean absolute error [], weighted as in the loss, of the level nearest to the median, over the targets that count.

    Parameters
    ----------
    quantiles
        float ``[B, H, Y, Q]``.
    levels
        The Q quantile levels.
    """
    middle = min(range(len(levels)), key=lambda number: abs(levels[number] - 0.5))
    error = (quantiles[..., middle] - batch.target).abs()
    if batch.weight.shape[-1]:
        error = error * batch.weight[:, None]
    if batch.target_mask.shape[-1] == 0:
        return error.mean()
    return error.masked_fill(~batch.target_mask, 0.0).sum() / batch.target_mask.sum().clamp(min=1)
