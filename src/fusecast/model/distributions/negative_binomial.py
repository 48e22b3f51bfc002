"""The negative binomial distribution, of counts in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import MIN_POSITIVE, Distribution, constrain_mean, raise_precision, typical_size
from fusecast.model.losses import as_levels

MAX_COUNTED = 256
"""Quantiles up to this are computed by summing probabilities; larger ones by scipy."""


class NegativeBinomial(Distribution):
    """Mean and dispersion of counts, ``variance = mean + dispersion * mean^2``, in the units of the data.

    A dispersion of 0 would be Poisson; it starts near the square of the window's relative deviation. Targets are
    rounded to whole numbers first: scaling them left rounding errors of float32.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ("mean", "dispersion")

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Map both to positive numbers."""
        raw, center, scale = raise_precision(raw), raise_precision(center), raise_precision(scale)
        relative = scale / typical_size(center, scale)
        dispersion = MIN_POSITIVE + functional.softplus(raw[..., 1]) * relative.square()
        return torch.stack((constrain_mean(raw[..., 0], center, scale), dispersion), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return the logarithm of the probability of the count."""
        mean, dispersion = raise_precision(parameters).unbind(-1)
        count = (raise_precision(target) * raise_precision(scale) + raise_precision(center)).round().clamp(min=0)
        size = 1 / dispersion
        ways = torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
        odds = dispersion * mean
        return ways - size * torch.log1p(odds) + count * (odds.log() - torch.log1p(odds))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch does not type it
    @torch.no_grad()
    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Return exact quantiles, whole numbers in the units of the data before they are scaled; without gradient.

        Up to 256 they are found by summing probabilities in torch; those beyond by scipy, on the CPU, since torch has
        no incomplete beta function. So this method can neither be compiled nor exported.
        """
        mean, dispersion = raise_precision(parameters).unbind(-1)
        size = 1 / dispersion
        level = as_levels(levels or self.levels, mean)
        success = mean / (size + mean)
        probability = torch.exp(-size * torch.log1p(dispersion * mean))
        cumulative = probability
        quantiles = torch.zeros((*mean.shape, len(level)), dtype=mean.dtype, device=mean.device)
        below = cumulative[..., None] < level
        for count in range(MAX_COUNTED):
            if not below.any():
                break
            quantiles = quantiles + below
            probability = probability * (count + size) / (count + 1) * success
            cumulative = cumulative + probability
            below = cumulative[..., None] < level
        if below.any():
            from scipy.stats import nbinom

            columns = (level, size[..., None], mean[..., None])
            q, r, m = (x.expand_as(quantiles)[below].cpu().double().numpy() for x in columns)
            quantiles[below] = torch.from_numpy(nbinom.ppf(q, r, r / (r + m))).to(level)
        return (quantiles - raise_precision(center)[..., None]) / raise_precision(scale)[..., None]
