"""Distribution function and quantiles of a Poisson number of gammas with mean 1, by the rate of the Poisson.

scipy has no Tweedie distribution, so these are computed here.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

MAX_RATE = 1e8
"""Largest rate in the table; the relative deviation is then below 1e-4 or so, and larger rates use it."""
TABLE_ROWS = 192
CDF_TOL = 1e-12
NORMAL_APPROX_RATE = 2000.0
"""Rate from which the expansion of Cornish and Fisher is accurate to 1e-6 of a deviation."""


def compound_poisson_cdf(value: Tensor, rate: Tensor, shape: float) -> Tensor:
    """Return the probability of at most `value` ``[...]``: gamma probabilities, weighted by those of their number.

    All terms within 10 deviations of the rate are summed; where they change slowly, every h-th with weight h, at most a
    quarter of the distance over which they change. Error below 1e-8.
    """
    narrowness = max(1.0, math.sqrt(shape))
    num_terms = math.ceil(80 * narrowness) + 22
    first = (rate - 10 * rate.sqrt()).floor().clamp(min=1)
    stride = (rate.sqrt() / (4 * narrowness)).clamp(min=1)
    count = first[..., None] + stride[..., None] * torch.arange(num_terms, dtype=rate.dtype)
    probability = (count * rate.log()[..., None] - rate[..., None] - torch.lgamma(count + 1)).exp()
    total = value * rate * shape  # in units of the gammas, whose sum has the mean rate * shape
    positive = (probability * torch.special.gammainc(count * shape, total[..., None].expand_as(count))).sum(dim=-1)
    cumulative: Tensor = (-rate).exp() + stride * positive
    return cumulative


@lru_cache(maxsize=64)
def quantile_table(levels: tuple[float, ...], power: float) -> Tensor:
    """Tabulate ``(quantile / mean - 1) * sqrt(rate)``, [TABLE_ROWS, Q].

    Row i is at the rate where ``sqrt(log(rate / start)) = i / (TABLE_ROWS - 1) * sqrt(log(MAX_RATE / start))``, with
    `start` the rate ``-log(level)`` up to which the quantile is 0: this coordinate is fine where the quantile leaves 0.
    """
    with torch.inference_mode(False), torch.no_grad():
        start = -torch.tensor(levels, dtype=torch.float64).log()
        position = torch.linspace(0, 1, TABLE_ROWS, dtype=torch.float64)[:, None]
        rate = start * (position.square() * (math.log(MAX_RATE) - start.log())).exp()
        level = torch.tensor(levels, dtype=torch.float64).expand_as(rate)
        shape = (2 - power) / (power - 1)
        table = cornish_fisher(torch.special.ndtri(level), rate, shape)
        exact = rate < NORMAL_APPROX_RATE
        table[exact] = (_solve_quantile(level[exact], rate[exact], shape) - 1) * rate[exact].sqrt()
        table[0] = -start.sqrt()  # a quantile of 0
        return table


def cornish_fisher(score: Tensor, rate: Tensor, shape: float) -> Tensor:
    """Return ``(quantile / mean - 1) * sqrt(rate)`` from the first five cumulants (Cornish and Fisher 1938)."""
    moments = [math.prod(shape + k for k in range(order)) for order in range(1, 6)]  # of a gamma
    skewness, kurtosis, fifth = (moments[r - 1] / moments[1] ** (r / 2) / rate ** (r / 2 - 1) for r in (3, 4, 5))
    z = score
    standard = (
        z
        + skewness / 6 * (z**2 - 1)
        + kurtosis / 24 * (z**3 - 3 * z)
        - skewness**2 / 36 * (2 * z**3 - 5 * z)
        + fifth / 120 * (z**4 - 6 * z**2 + 3)
        - skewness * kurtosis / 24 * (z**4 - 5 * z**2 + 2)
        + skewness**3 / 324 * (12 * z**4 - 53 * z**2 + 17)
    )
    return math.sqrt((1 + shape) / shape) * standard


def _solve_quantile(level: Tensor, rate: Tensor, shape: float) -> Tensor:
    """Solve ``cdf(value) = level`` by Newton's method in normal scores, kept inside a shrinking bracket."""
    deviation = ((1 + 1 / shape) / rate).sqrt()
    score = torch.special.ndtri(level)
    low, high = torch.zeros_like(rate), 1 + 40 * deviation * (1 + deviation)
    value = (1 + cornish_fisher(score, rate, shape) / rate.sqrt()).clamp(1e-3, 10.0)
    active = torch.arange(len(rate))
    for _ in range(80):
        x = value[active]
        probability = compound_poisson_cdf(x, rate[active], shape)
        under = probability < level[active]
        low[active], high[active] = torch.where(under, x, low[active]), torch.where(under, high[active], x)
        step = 1e-5 * deviation[active].clamp(max=1.0) * x.clamp(max=1.0)
        slope = (_score(compound_poisson_cdf(x + step, rate[active], shape)) - _score(probability)) / step
        newton = x - (_score(probability) - score[active]) / slope
        inside = (newton >= low[active]) & (newton <= high[active])  # false for NaN too
        converged = (probability - level[active]).abs() < CDF_TOL
        value[active] = torch.where(converged, x, torch.where(inside, newton, (low[active] + high[active]) / 2))
        done = converged | ((value[active] - x).abs() < 1e-10 * deviation[active].clamp(max=1.0) * x)
        active = active[~done]
        if not len(active):
            break
    return value


def _score(probability: Tensor) -> Tensor:
    score: Tensor = torch.special.ndtri(probability.clamp(1e-300, 1 - 1e-16))
    return score
