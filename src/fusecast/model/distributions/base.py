"""Family: a distribution whose parameters a network forecasts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

LEAST = 1e-6
"""What keeps a positive parameter from 0."""


class Family(nn.Module, ABC):
    """A family of distributions of one target at one step.

    Targets come scaled, as everything in a batch: ``value = scaled * scale + center``. Families of real numbers never
    leave scaled units; those of counts and amounts are defined in the units of the data, and need `center` and `scale`.
    Both are ``[...]``, like the target; parameters are ``[..., P]``, in the order of `names`.
    """

    names: ClassVar[tuple[str, ...]]
    """What the P parameters are called."""

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    @abstractmethod
    def constrain(self, raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Turn any numbers ``[..., P]`` into parameters ``[..., P]``."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Logarithm of the density (or, of counts, the probability) of scaled targets ``[...]``: ``[...]``."""

    @abstractmethod
    def quantiles(
        self, parameters: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> Tensor:
        """Give the quantile function, scaled, ``[..., Q]``, at the levels of the family or at others in (0, 1)."""


def wide(x: Tensor) -> Tensor:
    """Give float64, where the device has it: differences of large logarithms need the digits."""
    return x.float() if x.device.type == "mps" else x.double()


def positive_mean(raw: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Give a mean above 0, in the units of the data: ``raw * scale + center`` wherever that is far above 0."""
    return scale * (functional.softplus(raw + center / scale) + LEAST)


def level_of_window(center: Tensor, scale: Tensor) -> Tensor:
    """Usual size of the values of a window, in the units of the data; never 0."""
    return scale + center.abs()
