"""The Tweedie distribution with a power between 1 and 2, of amounts that are often exactly 0.

It is a compound Poisson-gamma distribution: the sum of a Poisson number of gamma variables. With mean m,
dispersion f and power p,

    variance = f m^p      rate = m^(2-p) / (f (2-p))      shape = (2-p) / (p-1)      unit = f (p-1) m^(p-1)

where `rate` is the Poisson rate (the probability of 0 is ``exp(-rate)``), and `shape` and `unit` are those
of the gammas. scipy does not have this distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import MIN_POSITIVE, Distribution, constrain_mean, raise_precision, typical_size
from fusecast.model.losses import as_levels

ZERO_THRESHOLD = 1e-4
"""Values below this part of a window's typical size count as 0: scaling a 0 leaves rounding errors of float32."""
SERIES_HALF_WIDTH = 40
"""Terms of the series on either side of the largest."""
MAX_RATE = 1e8
"""Largest rate in the table; the relative deviation is then below 1e-4 or so, and larger rates use it."""
TABLE_ROWS = 192
CDF_TOL = 1e-12
NORMAL_APPROX_RATE = 2000.0
"""Rate from which the expansion of Cornish and Fisher is accurate to 1e-6 of a deviation."""


class Tweedie(Distribution):
    """Mean and dispersion, in the units of the data, with a fixed power."""

    parameter_names: ClassVar[tuple[str, ...]] = ("mean", "dispersion")
    table: Tensor

    def __init__(self, levels: Sequence[float], power: float = 1.5) -> None:
        super().__init__(levels)
        self.power = power
        table = quantile_table(self.levels, power).to(torch.get_default_dtype())
        self.register_buffer("table", table, persistent=False)

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Map both to positive numbers; the deviation starts near that of the window."""
        raw, center, scale = raise_precision(raw), raise_precision(center), raise_precision(scale)
        typical = scale.square() / typical_size(center, scale) ** self.power
        dispersion = (MIN_POSITIVE + functional.softplus(raw[..., 1])) * typical
        return torch.stack((constrain_mean(raw[..., 0], center, scale), dispersion), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return the logarithm of the probability of 0, or of the density in the units of the data.

        The density is a series (Dunn and Smyth 2005), summed from 40 terms below to 40 above its largest. Where the
        terms change slowly, every h-th is taken, with weight h, so that the sum covers 10 deviations of that bell in
        steps of a quarter. Relative error about 1e-9.
        """
        p = self.power
        mean, dispersion = raise_precision(parameters).unbind(-1)
        center, scale = raise_precision(center), raise_precision(scale)
        value = raise_precision(target) * scale + center
        is_zero = value < ZERO_THRESHOLD * typical_size(center, scale)
        value = torch.where(is_zero, mean.detach(), value)
        rate = mean ** (2 - p) / (dispersion * (2 - p))
        shape = (2 - p) / (p - 1)
        scaled = value / (dispersion * (p - 1) * mean ** (p - 1))

        with torch.no_grad():  # the terms around the largest
            peak = value ** (2 - p) / (dispersion * (2 - p))
            stride = ((peak / (1 + shape)).sqrt() / 4).clamp(min=1)
            first = (peak - SERIES_HALF_WIDTH * stride).round().clamp(min=1)
            steps = torch.arange(2 * SERIES_HALF_WIDTH + 1, dtype=value.dtype, device=value.device)
            terms = first[..., None] + stride[..., None] * steps
            log_factorials = torch.lgamma(terms + 1) + torch.lgamma(terms * shape)
        log_growth = rate.log() + shape * scaled.log()
        series = torch.logsumexp(terms * log_growth[..., None] - log_factorials, dim=-1) + stride.log()
        return torch.where(is_zero, -rate, series - scaled - rate - value.log())

    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Return scaled quantiles, whose ratio to the mean depends on the Poisson rate alone and is interpolated.

        Accurate to 2e-4 of a level (1e-6 for powers from 1.2 to 1.5) or to 1e-5 of the mean; 0 where the probability
        of 0 is at least the level.
        """
        mean, dispersion = parameters.unbind(-1)
        rate = mean ** (2 - self.power) / (dispersion * (2 - self.power))
        table = self.table if levels is None else quantile_table(tuple(levels), self.power)
        level = as_levels(levels or self.levels, mean)
        ratio = _interpolate(table.to(mean), level, rate[..., None].clamp(max=MAX_RATE))
        return (mean[..., None] * ratio - center[..., None]) / scale[..., None]


def _interpolate(table: Tensor, level: Tensor, rate: Tensor) -> Tensor:
    """Interpolate the table [N, Q] at rates ``[..., 1]`` by cubics through four neighbours: ``[..., Q]``."""
    start = -level.log()  # at lower rates the quantile is 0
    position = (rate / start).clamp(min=1.0).log().sqrt() / (math.log(MAX_RATE) - start.log()).sqrt() * (len(table) - 1)
    inner = position.floor().clamp(1, len(table) - 3)
    t, row = position - inner, inner.nan_to_num(1.0).long()
    column = torch.arange(len(level), device=rate.device).expand_as(row)
    y0, y1, y2, y3 = (table[row + k, column] for k in (-1, 0, 1, 2))
    value = (
        -t * (t - 1) * (t - 2) / 6 * y0
        + (t + 1) * (t - 1) * (t - 2) / 2 * y1
        - (t + 1) * t * (t - 2) / 2 * y2
        + (t + 1) * t * (t - 1) / 6 * y3
    )
    return torch.where(rate > start, 1 + value / rate.sqrt(), 0.0).clamp(min=0.0)


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
