"""The normal distribution."""

# ruff: noqa: ARG002  center and scale are part of the interface

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import MIN_SCALE, Distribution
from fusecast.model.losses import as_levels


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
