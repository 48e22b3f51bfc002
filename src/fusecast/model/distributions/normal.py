"""The normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.distributions.base import Family
from fusecast.model.losses import as_levels

LEAST_SCALE = 1e-4
"""Least spread, in scaled units: a series that can be forecast exactly does not lead to an endless density."""


class Normal(Family):
    """Location and standard deviation, both in scaled units."""

    names: ClassVar[tuple[str, ...]] = ("location", "scale")

    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG002  of every family
        """Let the spread be positive."""
        return torch.stack((raw[..., 0], functional.softplus(raw[..., 1]) + LEAST_SCALE), dim=-1)

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG002
        """Logarithm of the density in scaled units."""
        location, spread = parameters.unbind(-1)
        standard = (target - location) / spread
        return -0.5 * standard.square() - spread.log() - 0.5 * math.log(2 * math.pi)

    def quantiles(
        self,
        parameters: Tensor,
        center: Tensor,  # noqa: ARG002
        scale: Tensor,  # noqa: ARG002
        levels: Sequence[float] | None = None,
    ) -> Tensor:
        """Exact: ``location + scale * Phi^-1(level)``."""
        location, spread = parameters.unbind(-1)
        standard = [NormalDist().inv_cdf(level) for level in levels or self.levels]
        return location[..., None] + spread[..., None] * as_levels(standard, location)
