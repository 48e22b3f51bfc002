"""Student's t distribution, and its quantile function in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import Family, wide
from fusecast.model.distributions.normal import LEAST_SCALE
from fusecast.model.losses import as_levels

LEAST_DF = 2.0 + 1e-3
"""Least degrees of freedom: below 2 there is no variance."""
USUAL = 2.0
"""Where training starts: with 4.1 degrees of freedom."""
NODES = 40
POINTS = 64
REACH = 12.0


class StudentT(Family):
    """Location and scale in scaled units, and degrees of freedom above 2: as the normal, with heavier tails."""

    names: ClassVar[tuple[str, ...]] = ("location", "scale", "df")
    table: Tensor

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__(levels)
        self.register_buffer("table", quantile_table(self.levels).to(torch.get_default_dtype()), persistent=False)

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG002  of every family
        """Let the spread be positive, and the degrees of freedom be above 2."""
        spread = functional.softplus(raw[..., 1]) + LEAST_SCALE
        return torch.stack((raw[..., 0], spread, LEAST_DF + functional.softplus(raw[..., 2] + USUAL)), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG002
        """Logarithm of the density in scaled units."""
        location, spread, df = wide(parameters).unbind(-1)
        standard = (wide(target) - location) / spread
        constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (df * math.pi).log()
        return constant - spread.log() - (df + 1) / 2 * torch.log1p(standard.square() / df)

    def quantiles(
        self,
        parameters: Tensor,
        center: Tensor,  # noqa: ARG002
        scale: Tensor,  # noqa: ARG002
        levels: Sequence[float] | None = None,
    ) -> Tensor:
        """``location + scale * t``, t to a relative 1e-5 (1e-6 in float64) for levels from 1e-6 to 1 - 1e-6.

        The logarithm of ``|t|`` is a polynomial in 1 / df (40 Chebyshev terms a level, for df from 2 to infinity).
        """
        location, spread, df = parameters.unbind(-1)
        table = self.table if levels is None else quantile_table(tuple(levels))
        table = table.to(location)
        x = 4.0 / df[..., None] - 1.0  # 1 / df from [0, 1/2] to [-1, 1]
        sign = as_levels([_sign(level) for level in levels or self.levels], x)
        return location[..., None] + spread[..., None] * sign * _chebyshev(table, x).exp()


def _chebyshev(table: Tensor, x: Tensor) -> Tensor:
    """Sum a Chebyshev series by Clenshaw's recurrence; no matrix product, whose precision a user may have lowered."""
    last, before = torch.zeros_like(x), torch.zeros_like(x)
    for row in table[1:].flip(0):
        last, before = row + 2 * x * last - before, last
    return table[0] + x * last - before


@lru_cache(maxsize=64)
def quantile_table(levels: tuple[float, ...]) -> Tensor:
    """Chebyshev coefficients [NODES, Q] in ``4 / df - 1`` of ``log |t|`` at each level; 0 for the median."""
    with torch.inference_mode(False), torch.no_grad():
        angle = (torch.arange(NODES, dtype=torch.float64) + 0.5) * math.pi / NODES
        df = 4.0 / (1.0 + angle.cos())  # [n]
        tail = torch.tensor([min(level, 1 - level) for level in levels], dtype=torch.float64)
        middle = tail == 0.5
        values = _upper_quantile(df[:, None], torch.where(middle, 0.25, tail)).log()  # [n, Q]
        values = torch.where(middle, 0.0, values)
        basis = (torch.arange(NODES, dtype=torch.float64)[:, None] * angle).cos() * 2 / NODES
        basis[0] /= 2
        return basis @ values


def _upper_quantile(df: Tensor, tail: Tensor) -> Tensor:
    """Where a share `tail` (below 1/2) of the distribution lies beyond, by bisection.

    With t = sqrt(df) * tan(angle), the density is c * cos(angle)^(df - 1): smooth, and integrated by Gauss's rule.
    """
    points, weights = gauss_legendre(POINTS)
    constant = torch.exp(torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2)) / math.sqrt(math.pi)
    low, high = torch.zeros_like(df * tail), torch.full_like(df * tail, math.pi / 2)
    for _ in range(60):
        angle = (low + high) / 2
        rest = torch.minimum(math.pi / 2 - angle, REACH / df.sqrt())  # beyond that, nothing is left
        at = angle[..., None] + rest[..., None] * (points + 1) / 2
        beyond = constant * rest / 2 * (weights * torch.exp((df - 1)[..., None] * at.cos().log())).sum(dim=-1)
        far = beyond > tail
        low, high = torch.where(far, angle, low), torch.where(far, high, angle)
    return df.sqrt() * ((low + high) / 2).tan()


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Points and weights of Gauss's rule on [-1, 1] (Golub and Welsch 1969)."""
    number = torch.arange(1, count, dtype=torch.float64)
    side = number / (4 * number.square() - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return points, 2 * vectors[0].square()


def _sign(level: float) -> float:
    return 0.0 if level == 0.5 else math.copysign(1.0, level - 0.5)
