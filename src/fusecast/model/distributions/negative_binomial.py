"""The negative binomial distribution, of counts in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import LEAST, Family, level_of_window, positive_mean, wide
from fusecast.model.losses import as_levels

COUNTED = 256
"""Quantiles up to this are found by counting; larger ones by scipy."""


class NegativeBinomial(Family):
    """Mean and dispersion of counts, ``variance = mean + dispersion * mean^2``, in the units of the data.

    A dispersion of 0 would be Poisson; it starts near the square of the window's own relative deviation. Targets are
    rounded to whole numbers before they are looked at: scaling them left errors of a float32.
    """

    names: ClassVar[tuple[str, ...]] = ("mean", "dispersion")

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Let both be positive."""
        raw, center, scale = wide(raw), wide(center), wide(scale)
        relative = scale / level_of_window(center, scale)
        dispersion = LEAST + functional.softplus(raw[..., 1]) * relative.square()
        return torch.stack((positive_mean(raw[..., 0], center, scale), dispersion), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Logarithm of the probability of the count."""
        mean, dispersion = wide(parameters).unbind(-1)
        count = (wide(target) * wide(scale) + wide(center)).round().clamp(min=0)
        size = 1 / dispersion
        ways = torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
        odds = dispersion * mean
        return ways - size * torch.log1p(odds) + count * (odds.log() - torch.log1p(odds))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch says nothing of its types
    @torch.no_grad()
    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Exact whole numbers in the units of the data, before they are scaled; without gradient.

        Up to 256 they are counted up in torch; those beyond are left to scipy, on the CPU, since torch has no
        incomplete beta function. So this part alone can neither be compiled nor exported.
        """
        mean, dispersion = wide(parameters).unbind(-1)
        size = 1 / dispersion
        level = as_levels(levels or self.levels, mean)
        share = mean / (size + mean)
        chance = torch.exp(-size * torch.log1p(dispersion * mean))
        total = chance
        found = torch.zeros((*mean.shape, len(level)), dtype=mean.dtype, device=mean.device)
        open_ = total[..., None] < level
        for count in range(COUNTED):
            if not open_.any():
                break
            found = found + open_
            chance = chance * (count + size) / (count + 1) * share
            total = total + chance
            open_ = total[..., None] < level
        if open_.any():
            found[open_] = _by_scipy(level.expand_as(found)[open_], size, mean, open_)
        return (found - wide(center)[..., None]) / wide(scale)[..., None]


def _by_scipy(level: Tensor, size: Tensor, mean: Tensor, where: Tensor) -> Tensor:
    from scipy.stats import nbinom

    r, m = (x[..., None].expand_as(where)[where].cpu().double().numpy() for x in (size, mean))
    return torch.from_numpy(nbinom.ppf(level.cpu().double().numpy(), r, r / (r + m))).to(level)
