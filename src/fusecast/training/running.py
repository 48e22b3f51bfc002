"""RunningMean: the mean of losses so far, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMean:
    """A weighted mean in float64 (float32 on devices without it) that can be saved half way."""

    def __init__(self, total: float = 0.0, weight: float = 0.0) -> None:
        self._total: Tensor | float = total
        self._weight = weight

    def add(self, value: Tensor, weight: float) -> None:
        """Count a value [] in."""
        self._total = self._total + value.detach().to(_widest(value.device)) * weight
        self._weight += weight

    def mean(self, device: torch.device) -> Tensor:
        """Give the mean, float32 []; 0 where nothing was added."""
        total = torch.as_tensor(self._total, device=device, dtype=_widest(device))
        return (total / max(self._weight, 1e-12)).float()

    def state(self) -> list[float]:
        """Plain values; ``RunningMean(*state)`` goes on from them."""
        return [float(self._total), self._weight]


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
