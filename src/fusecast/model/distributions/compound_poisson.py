"""Distribution function and quantiles of a Poisson number of gammas with mean 1, by the rate of the Poisson."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

MAX_RATE = 1e8
"""Largest rate in the table; the relative deviation is then below 1e-4 or so, and beyond it is kept."""
ROWS = 192
CDF_TOL = 1e-12
NORMAL_APPROX_RATE = 2000.0
"""Rates from which the expansion of Cornish and Fisher is exact to 1e-6 of a deviation."""


def below(value: Tensor, rate: Tensor, shape: float) -> Tensor:
    """Chance of at most `value` ``[...]``: gamma chances, weighted by the Poisson chances of how many there are.

    All terms within 10 deviations of the rate are taken; where chances change over many terms, every h-th, of width h,
    h being at most a quarter of the distance over which they change. Error below 1e-8.
    """
    narrow = max(1.0, math.sqrt(shape))
    count = math.ceil(80 * narrow) + 22
    first = (rate - 10 * rate.sqrt()).floor().clamp(min=1)
    stride = (rate.sqrt() / (4 * narrow)).clamp(min=1)
    number = first[..., None] + stride[..., None] * torch.arange(count, dtype=rate.dtype)
    chance = (number * rate.log()[..., None] - rate[..., None] - torch.lgamma(number + 1)).exp()
    parts = value * rate * shape  # in units of the gammas, whose sum has the mean rate * shape
    some = (chance * torch.special.gammainc(number * shape, parts[..., None].expand_as(number))).sum(dim=-1)
    found: Tensor = (-rate).exp() + stride * some
    return found


@lru_cache(maxsize=64)
def quantile_table(levels: tuple[float, ...], power: float) -> Tensor:
    """Tabulate ``(quantile / mean - 1) * sqrt(rate)``, [ROWS, Q].

    Row i is at the rate where ``sqrt(log(rate / start)) = i / (ROWS - 1) * sqrt(log(RATES / start))``, `start` being
    the rate ``-log(level)`` up to which the quantile is 0: this coordinate is fine where the quantile leaves 0.
    """
    with torch.inference_mode(False), torch.no_grad():
        start = -torch.tensor(levels, dtype=torch.float64).log()
        place = torch.linspace(0, 1, ROWS, dtype=torch.float64)[:, None]
        rate = start * (place.square() * (math.log(MAX_RATE) - start.log())).exp()
        level = torch.tensor(levels, dtype=torch.float64).expand_as(rate)
        shape = (2 - power) / (power - 1)
        made = expanded(torch.special.ndtri(level), rate, shape)
        few = rate < NORMAL_APPROX_RATE
        made[few] = (_quantile(level[few], rate[few], shape) - 1) * rate[few].sqrt()
        made[0] = -start.sqrt()  # a quantile of 0
        return made


def expanded(score: Tensor, rate: Tensor, shape: float) -> Tensor:
    """Give ``(quantile / mean - 1) * sqrt(rate)`` from the first five cumulants (Cornish and Fisher 1938)."""
    rising = [math.prod(shape + k for k in range(order)) for order in range(1, 6)]  # moments of a gamma
    skew, peak, fifth = (rising[r - 1] / rising[1] ** (r / 2) / rate ** (r / 2 - 1) for r in (3, 4, 5))
    z = score
    standard = (
        z
        + skew / 6 * (z**2 - 1)
        + peak / 24 * (z**3 - 3 * z)
        - skew**2 / 36 * (2 * z**3 - 5 * z)
        + fifth / 120 * (z**4 - 6 * z**2 + 3)
        - skew * peak / 24 * (z**4 - 5 * z**2 + 2)
        + skew**3 / 324 * (12 * z**4 - 53 * z**2 + 17)
    )
    return math.sqrt((1 + shape) / shape) * standard


def _quantile(level: Tensor, rate: Tensor, shape: float) -> Tensor:
    """Solve ``below(value) = level`` by Newton's method in normal scores, kept inside a bracket that shrinks."""
    deviation = ((1 + 1 / shape) / rate).sqrt()
    score = torch.special.ndtri(level)
    low, high = torch.zeros_like(rate), 1 + 40 * deviation * (1 + deviation)
    value = (1 + expanded(score, rate, shape) / rate.sqrt()).clamp(1e-3, 10.0)
    busy = torch.arange(len(rate))
    for _ in range(80):
        at = value[busy]
        chance = below(at, rate[busy], shape)
        under = chance < level[busy]
        low[busy], high[busy] = torch.where(under, at, low[busy]), torch.where(under, high[busy], at)
        step = 1e-5 * deviation[busy].clamp(max=1.0) * at.clamp(max=1.0)
        slope = (_score(below(at + step, rate[busy], shape)) - _score(chance)) / step
        wanted = at - (_score(chance) - score[busy]) / slope
        inside = (wanted >= low[busy]) & (wanted <= high[busy])  # false for NaN too
        found = (chance - level[busy]).abs() < CDF_TOL
        value[busy] = torch.where(found, at, torch.where(inside, wanted, (low[busy] + high[busy]) / 2))
        done = found | ((value[busy] - at).abs() < 1e-10 * deviation[busy].clamp(max=1.0) * at)
        busy = busy[~done]
        if not len(busy):
            break
    return value


def _score(chance: Tensor) -> Tensor:
    found: Tensor = torch.special.ndtri(chance.clamp(1e-300, 1 - 1e-16))
    return found
