"""The Tweedie distribution with a power between 1 and 2, of amounts that are often exactly 0.

It is a compound Poisson-gamma: a Poisson number of gaps of gamma size. With mean m, dispersion f and power p,

    variance = f m^p      rate = m^(2-p) / (f (2-p))      shape = (2-p) / (p-1)      unit = f (p-1) m^(p-1)

where `rate` is the Poisson rate (the chance of 0 is ``exp(-rate)``), and `shape` and `unit` are those of the gammas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import LEAST, Family, level_of_window, positive_mean, wide
from fusecast.model.distributions.compound_poisson import MAX_RATE, quantile_table
from fusecast.model.losses import as_levels

NOTHING = 1e-4
"""Values below this part of a window's usual size count as 0: scaling a 0 leaves errors of a float32."""
REACH = 40
"""Terms of the series on either side of the largest."""


class Tweedie(Family):
    """Mean and dispersion, in the units of the data, with a power fixed for all."""

    names: ClassVar[tuple[str, ...]] = ("mean", "dispersion")
    table: Tensor

    def __init__(self, levels: Sequence[float], power: float = 1.5) -> None:
        super().__init__(levels)
        self.power = power
        table = quantile_table(self.levels, power).to(torch.get_default_dtype())
        self.register_buffer("table", table, persistent=False)

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Let both be positive; the deviation starts near that of the window."""
        raw, center, scale = wide(raw), wide(center), wide(scale)
        usual = scale.square() / level_of_window(center, scale) ** self.power
        dispersion = (LEAST + functional.softplus(raw[..., 1])) * usual
        return torch.stack((positive_mean(raw[..., 0], center, scale), dispersion), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Logarithm of the chance of 0, or of the density in the units of the data.

        The density is a series (Dunn and Smyth 2005), summed from 40 terms below to 40 above its largest. Where its
        terms form a bell wider than 10 of them, every h-th is taken, of width h: the bell is then summed from -10 to
        10 of its deviations in quarters of one. Relative error about 1e-9.
        """
        p = self.power
        mean, dispersion = wide(parameters).unbind(-1)
        center, scale = wide(center), wide(scale)
        value = wide(target) * scale + center
        nothing = value < NOTHING * level_of_window(center, scale)
        value = torch.where(nothing, mean.detach(), value)
        rate = mean ** (2 - p) / (dispersion * (2 - p))
        shape = (2 - p) / (p - 1)
        parts = value / (dispersion * (p - 1) * mean ** (p - 1))

        with torch.no_grad():  # where the terms are largest
            peak = value ** (2 - p) / (dispersion * (2 - p))
            stride = ((peak / (1 + shape)).sqrt() / 4).clamp(min=1)
            first = (peak - REACH * stride).round().clamp(min=1)
            steps = torch.arange(2 * REACH + 1, dtype=value.dtype, device=value.device)
            number = first[..., None] + stride[..., None] * steps
            ways = torch.lgamma(number + 1) + torch.lgamma(number * shape)
        grows = rate.log() + shape * parts.log()
        series = torch.logsumexp(number * grows[..., None] - ways, dim=-1) + stride.log()
        return torch.where(nothing, -rate, series - parts - rate - value.log())

    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Quantiles over the mean depend on the Poisson rate alone, and are read off a table of it.

        Right to 2e-4 of a level (1e-6 for powers from 1.2 to 1.5) or to 1e-5 of the mean; 0 where the chance of 0 is at
        least the level.
        """
        mean, dispersion = parameters.unbind(-1)
        rate = mean ** (2 - self.power) / (dispersion * (2 - self.power))
        table = self.table if levels is None else quantile_table(tuple(levels), self.power)
        level = as_levels(levels or self.levels, mean)
        ratio = _read(table.to(mean), level, rate[..., None].clamp(max=MAX_RATE))
        return (mean[..., None] * ratio - center[..., None]) / scale[..., None]


def _read(table: Tensor, level: Tensor, rate: Tensor) -> Tensor:
    """Interpolate the table [N, Q] at rates ``[..., 1]`` by cubics through four neighbours: ``[..., Q]``."""
    start = -level.log()  # at lower rates the quantile is 0
    place = (rate / start).clamp(min=1.0).log().sqrt() / (math.log(MAX_RATE) - start.log()).sqrt() * (len(table) - 1)
    inner = place.floor().clamp(1, len(table) - 3)
    t, row = place - inner, inner.long()
    column = torch.arange(len(level), device=rate.device).expand_as(row)
    before, left, right, after = (table[row + k, column] for k in (-1, 0, 1, 2))
    value = (
        -t * (t - 1) * (t - 2) / 6 * before
        + (t + 1) * (t - 1) * (t - 2) / 2 * left
        - (t + 1) * t * (t - 2) / 2 * right
        + (t + 1) * t * (t - 1) / 6 * after
    )
    return torch.where(rate > start, 1 + value / rate.sqrt(), 0.0).clamp(min=0.0)
