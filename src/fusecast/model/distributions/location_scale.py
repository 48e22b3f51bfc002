"""The normal distribution, and Student's t with a quantile function in torch: location and scale in scaled units."""

# ruff: noqa: ARG002  center and scale are part of the interface

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import ClassVar

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebinterpolate
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import MIN_SCALE, Distribution, raise_precision
from fusecast.model.losses import as_levels

MIN_DF = 2.0 + 1e-3
"""Smallest degrees of freedom: up to 2 there is no variance."""
INITIAL_DF_LOGIT = 2.0
"""Added to the raw degrees of freedom, so that training starts near 4.1 of them."""
CHEBYSHEV_TERMS = 40


class Normal(Distribution):
    """Location and standard deviation, both in scaled units."""

    parameter_names: ClassVar[tuple[str, ...]] = ("location", "scale")

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Map to a positive scale."""
        return torch.stack((raw[..., 0], functional.softplus(raw[..., 1]) + MIN_SCALE), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return the logarithm of the density in scaled units."""
        location, deviation = parameters.unbind(-1)
        standard = (target - location) / deviation
        return -0.5 * standard.square() - deviation.log() - 0.5 * math.log(2 * math.pi)

    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Return the exact quantiles, ``location + scale * Phi^-1(level)``."""
        location, deviation = parameters.unbind(-1)
        standard = [NormalDist().inv_cdf(level) for level in levels or self.levels]
        return location[..., None] + deviation[..., None] * as_levels(standard, location)


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
        location, deviation, df = raise_precision(parameters).unbind(-1)
        standard = (raise_precision(target) - location) / deviation
        constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (df * math.pi).log()
        return constant - deviation.log() - (df + 1) / 2 * torch.log1p(standard.square() / df)

    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Return ``location + scale * t``, t to a relative 1e-5 (1e-6 in float64) for levels from 1e-6 to 1 - 1e-6.

        The logarithm of ``|t|`` is a polynomial in 1 / df (40 Chebyshev terms a level, for df from 2 to infinity)
        through values of scipy's quantile function; unlike that, it is differentiable and runs on any device.
        """
        location, deviation, df = parameters.unbind(-1)
        table = self.table if levels is None else quantile_table(tuple(levels))
        table = table.to(location)
        x = 4.0 / df[..., None] - 1.0  # 1 / df from [0, 1/2] to [-1, 1]
        sign = as_levels([(level > 0.5) - (level < 0.5) for level in levels or self.levels], x)
        return location[..., None] + deviation[..., None] * sign * _chebyshev(table, x).exp()


def _chebyshev(table: Tensor, x: Tensor) -> Tensor:
    """Sum a Chebyshev series by Clenshaw's recurrence; no matrix product, whose precision a user may have lowered."""
    last, previous = torch.zeros_like(x), torch.zeros_like(x)
    for row in table[1:].flip(0):
        last, previous = row + 2 * x * last - previous, last
    return table[0] + x * last - previous


@lru_cache(maxsize=64)
def quantile_table(levels: tuple[float, ...]) -> Tensor:
    """Return Chebyshev coefficients [CHEBYSHEV_TERMS, Q] in ``4 / df - 1`` of ``log |t|`` at each level; 0 for 0.5."""
    from scipy.special import stdtrit

    tail = np.minimum(levels, np.subtract(1.0, levels))
    is_median = tail == 0.5
    tail[is_median] = 0.25
    table = chebinterpolate(lambda x: np.log(-stdtrit(4.0 / (x[:, None] + 1.0), tail)), CHEBYSHEV_TERMS - 1)
    table[:, is_median] = 0.0
    with torch.inference_mode(False):
        return torch.from_numpy(table)
