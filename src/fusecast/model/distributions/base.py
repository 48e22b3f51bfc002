"""Distribution: a family of distributions whose parameters a network forecasts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

MIN_POSITIVE = 1e-6
"""Added to the softplus of a positive parameter."""
MIN_SCALE = 1e-4
"""Added to scales, in scaled units: a series that can be forecast exactly does not lead to an infinite density."""


class Distribution(nn.Module, ABC):
    """A family of distributions of one target at one step.

    Targets are scaled, as everything in a batch: ``value = scaled * scale + center``. Families of real numbers are
    defined in scaled units; those of counts and amounts in the units of the data, which needs `center` and `scale`.
    Both are ``[...]``, like the target; parameters are ``[..., P]``, in the order of `parameter_names`.
    """

    parameter_names: ClassVar[tuple[str, ...]]

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    @abstractmethod
    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Map any numbers ``[..., P]`` to valid parameters ``[..., P]``."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return the logarithm of the density (for counts, the probability) of scaled targets ``[...]``: ``[...]``."""

    @abstractmethod
    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Return scaled quantiles ``[..., Q]`` at the levels of the distribution, or at others in (0, 1)."""


def raise_precision(x: Tensor) -> Tensor:
    """Convert to float64, where the device has it: differences of large logarithms need the digits."""
    return x.float() if x.device.type == "mps" else x.double()


def constrain_mean(raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Return a mean above 0, in the units of the data: ``raw * scale + center`` wherever that is far above 0."""
    return scale * (functional.softplus(raw + center / scale) + MIN_POSITIVE)


def typical_size(center: Tensor, scale: Tensor) -> Tensor:
    """Return the typical absolute value in a window, in the units of the data; never 0."""
    return scale + center.abs()
