"""Quantiles in the units of the data, in torch: as :mod:`fusecast.inference` computes them in NumPy, for tracing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_COUNTED = 2_047
"""Counts up to which the quantiles of their distribution are found, by summing probabilities."""


def sort_last(values: Tensor) -> Tensor:
    """Return values in rising order along the last dimension."""
    return torch.topk(values, values.shape[-1], dim=-1, largest=False).values


def mix_quantiles(parts: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the quantiles ``[..., Q]`` of a mixture of M distributions ``[..., M, Q]``.

    As :func:`fusecast.inference.quantiles.mix_quantiles`.
    """
    if len(levels) == 1:
        return parts.mean(dim=-2)
    M, Q = parts.shape[-2:]
    level = torch.tensor(levels, dtype=parts.dtype)
    values, order = torch.topk(parts.flatten(-2), M * Q, dim=-1, largest=False)  # equal ones in their order
    heights = torch.zeros_like(values)
    for number in range(M):
        own = torch.div(order, Q, rounding_mode="floor") == number
        heights = heights + _levels_after(own.to(torch.int64).cumsum(dim=-1), values, parts[..., number, :], level)
    heights = heights / M
    upper = (heights.unsqueeze(-2) < level.unsqueeze(-1)).to(torch.int64).sum(dim=-1).clamp(1, M * Q - 1)
    x0, x1, p0, p1 = (each.gather(-1, at) for each in (values, heights) for at in (upper - 1, upper))
    share = ((level - p0) / torch.where(p1 > p0, p1 - p0, 1.0)).clamp(0.0, 1.0)
    return torch.where(share == 1.0, x1, x0 + share * (x1 - x0))


def _levels_after(passed: Tensor, values: Tensor, quantiles: Tensor, level: Tensor) -> Tensor:
    """Return the levels of values ``[..., K]`` under rising quantiles, of which so many do not lie above."""
    last = len(level) - 1
    lower = (passed - 1).clamp(0, last - 1)
    x0, x1 = quantiles.gather(-1, lower), quantiles.gather(-1, lower + 1)
    p0, p1 = level[lower], level[lower + 1]
    width = torch.where(x1 > x0, x1 - x0, 1.0)
    inner = torch.where(passed == last + 1, p1, p0 + (values - x0) / width * (p1 - p0))
    below, above = (passed == 0) & (values < x0), (passed == last + 1) & (values > x1)
    slope = width / (p1 - p0)
    rest = 1.0 - level[-1]
    low = level[0] * torch.exp((values - x0).clamp(max=0.0) / (slope * level[0]))
    high = 1.0 - rest * torch.exp((x1 - values).clamp(max=0.0) / (slope * rest))
    low, high = torch.where(x1 > x0, low, 0.0), torch.where(x1 > x0, high, 1.0)
    return torch.where(below, low, torch.where(above, high, inner))


def count_quantiles(mean: Tensor, dispersion: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the quantiles ``[..., Q]`` of negative binomial distributions, NaN where one is above MOST_COUNTED.

    As :meth:`fusecast.model.distributions.negative_binomial.NegativeBinomial.quantiles`: how many counts have a
    cumulative probability below the level.
    """
    size, level = 1 / dispersion, torch.tensor(levels, dtype=mean.dtype)
    count = torch.arange(MOST_COUNTED, dtype=mean.dtype)
    success = mean / (size + mean)
    growth = torch.log((count + size.unsqueeze(-1)) / (count + 1) * success.unsqueeze(-1))  # of the probability
    first = -size * torch.log1p(dispersion * mean)
    later = first.unsqueeze(-1) + growth.cumsum(dim=-1)
    cumulative = torch.cat((first.unsqueeze(-1), later), dim=-1).exp().cumsum(dim=-1)
    quantiles = (cumulative.unsqueeze(-2) < level.unsqueeze(-1)).to(torch.int64).sum(dim=-1)
    counted = (quantiles <= MOST_COUNTED) & ~cumulative[..., -1:].isnan()
    return torch.where(counted, quantiles.to(mean.dtype), torch.nan)


def compute_median(quantiles: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the medians ``[...]`` of quantiles ``[..., Q]``, as the function of this name in NumPy."""
    level = min(max(0.5, levels[0]), levels[-1])
    if level in levels:
        return quantiles[..., list(levels).index(level)]
    upper = next(number for number, other in enumerate(levels) if other > level)
    share = (level - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
    return quantiles[..., upper - 1] * (1 - share) + quantiles[..., upper] * share
