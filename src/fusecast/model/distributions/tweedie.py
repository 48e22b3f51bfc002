"""The Tweedie distribution with a power between 1 and 2, of amounts that are often exactly 0.

It is a compound Poisson-gamma distribution: the sum of a Poisson number of gamma variables. With mean m,
dispersion f and power p,

    variance = f m^p      rate = m^(2-p) / (f (2-p))      shape = (2-p) / (p-1)      unit = f (p-1) m^(p-1)

where `rate` is the Poisson rate (the probability of 0 is ``exp(-rate)``), and `shape` and `unit` are those
of the gammas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import (
    MIN_POSITIVE,
    Distribution,
    constrain_mean,
    to_high_precision,
    typical_size,
)
from fusecast.model.distributions.compound_poisson import MAX_RATE, quantile_table
from fusecast.model.losses import as_levels

ZERO_THRESHOLD = 1e-4
"""Values below this part of a window's typical size count as 0: scaling a 0 leaves rounding errors of float32."""
SERIES_HALF_WIDTH = 40
"""Terms of the series on either side of the largest."""


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
        raw, center, scale = to_high_precision(raw), to_high_precision(center), to_high_precision(scale)
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
        mean, dispersion = to_high_precision(parameters).unbind(-1)
        center, scale = to_high_precision(center), to_high_precision(scale)
        value = to_high_precision(target) * scale + center
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
    t, row = position - inner, inner.long()
    column = torch.arange(len(level), device=rate.device).expand_as(row)
    y0, y1, y2, y3 = (table[row + k, column] for k in (-1, 0, 1, 2))
    value = (
        -t * (t - 1) * (t - 2) / 6 * y0
        + (t + 1) * (t - 1) * (t - 2) / 2 * y1
        - (t + 1) * t * (t - 2) / 2 * y2
        + (t + 1) * t * (t - 1) / 6 * y3
    )
    return torch.where(rate > start, 1 + value / rate.sqrt(), 0.0).clamp(min=0.0)
