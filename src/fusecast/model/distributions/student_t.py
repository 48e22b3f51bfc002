"""Student's t distribution, and its quantile function in torch."""

# ruff: noqa: ARG002  center and scale are part of the interface

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import MIN_SCALE, Distribution, to_high_precision
from fusecast.model.losses import as_levels

MIN_DF = 2.0 + 1e-3
"""Smallest degrees of freedom: up to 2 there is no variance."""
INITIAL_DF_LOGIT = 2.0
"""Added to the raw degrees of freedom, so that training starts near 4.1 of them."""
CHEBYSHEV_TERMS = 40
QUADRATURE_POINTS = 64
INTEGRATION_DEVIATIONS = 12.0
"""Deviations of the angle beyond which its density is 0 in float64."""


class StudentT(Distribution):
    """Location and scale in scaled units, and degrees of freedom above 2: as the normal, with heavier tails."""

    parameter_names: ClassVar[tuple[str, ...]] = ("location", "scale", "df")
    table: Tensor

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__(levels)
        self.register_buffer("table", quantile_table(self.levels).to(torch.get_default_dtype()), persistent=False)

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Map to a positive scale, and to degrees of freedom above 2."""
        deviation = functional.softplus(raw[..., 1]) + MIN_SCALE
        df = MIN_DF + functional.softplus(raw[..., 2] + INITIAL_DF_LOGIT)
        return torch.stack((raw[..., 0], deviation, df), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return the logarithm of the density in scaled units."""
        location, deviation, df = to_high_precision(parameters).unbind(-1)
        standard = (to_high_precision(target) - location) / deviation
        constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (df * math.pi).log()
        return constant - deviation.log() - (df + 1) / 2 * torch.log1p(standard.square() / df)

    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Return ``location + scale * t``, t to a relative 1e-5 (1e-6 in float64) for levels from 1e-6 to 1 - 1e-6.

        The logarithm of ``|t|`` is a polynomial in 1 / df (40 Chebyshev terms a level, for df from 2 to infinity),
        which is differentiable and runs on any device, unlike scipy's quantile function.
        """
        location, deviation, df = parameters.unbind(-1)
        table = self.table if levels is None else quantile_table(tuple(levels))
        table = table.to(location)
        x = 4.0 / df[..., None] - 1.0  # 1 / df from [0, 1/2] to [-1, 1]
        sign = as_levels([_sign(level) for level in levels or self.levels], x)
        return location[..., None] + deviation[..., None] * sign * _chebyshev(table, x).exp()


def _sign(level: float) -> float:
    return 0.0 if level == 0.5 else math.copysign(1.0, level - 0.5)


def _chebyshev(table: Tensor, x: Tensor) -> Tensor:
    """Sum a Chebyshev series by Clenshaw's recurrence; no matrix product, whose precision a user may have lowered."""
    last, previous = torch.zeros_like(x), torch.zeros_like(x)
    for row in table[1:].flip(0):
        last, previous = row + 2 * x * last - previous, last
    return table[0] + x * last - previous


@lru_cache(maxsize=64)
def quantile_table(levels: tuple[float, ...]) -> Tensor:
    """Return Chebyshev coefficients [CHEBYSHEV_TERMS, Q] in ``4 / df - 1`` of ``log |t|`` at each level; 0 for 0.5."""
    with torch.inference_mode(False), torch.no_grad():
        angle = (torch.arange(CHEBYSHEV_TERMS, dtype=torch.float64) + 0.5) * math.pi / CHEBYSHEV_TERMS
        df = 4.0 / (1.0 + angle.cos())  # [n]
        tail = torch.tensor([min(level, 1 - level) for level in levels], dtype=torch.float64)
        is_median = tail == 0.5
        values = _upper_quantile(df[:, None], torch.where(is_median, 0.25, tail)).log()  # [n, Q]
        values = torch.where(is_median, 0.0, values)
        basis = (torch.arange(CHEBYSHEV_TERMS, dtype=torch.float64)[:, None] * angle).cos() * 2 / CHEBYSHEV_TERMS
        basis[0] /= 2
        return basis @ values


def _upper_quantile(df: Tensor, tail: Tensor) -> Tensor:
    """Return the point beyond which a share `tail` (below 1/2) of the distribution lies, by bisection.

    With t = sqrt(df) * tan(angle), the density is c * cos(angle)^(df - 1): smooth, and integrated by Gauss's rule.
    ``scipy.special.stdtrit`` is closer to the truth, by a relative 1e-9, but would change forecasts of saved networks.
    """
    points, weights = map(torch.from_numpy, leggauss(QUADRATURE_POINTS))
    constant = torch.exp(torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2)) / math.sqrt(math.pi)
    low, high = torch.zeros_like(df * tail), torch.full_like(df * tail, math.pi / 2)
    for _ in range(60):
        angle = (low + high) / 2
        length = torch.minimum(math.pi / 2 - angle, INTEGRATION_DEVIATIONS / df.sqrt())
        nodes = angle[..., None] + length[..., None] * (points + 1) / 2
        density = torch.exp((df - 1)[..., None] * nodes.cos().log())
        beyond = constant * length / 2 * (weights * density).sum(dim=-1)
        is_low = beyond > tail
        low, high = torch.where(is_low, angle, low), torch.where(is_low, high, angle)
    return df.sqrt() * ((low + high) / 2).tan()
