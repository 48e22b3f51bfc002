"""Heads: from what the network understood to a forecast."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class QuantileHead(nn.Module):
    """One linear map a target and quantile level (equation 22): ``[B, H, d] -> [B, H, Y, Q]``.

    It always works in the precision of its weights: bfloat16 forecasts would have less than three digits.
    """

    def __init__(self, d_model: int, num_targets: int, num_quantiles: int) -> None:
        super().__init__()
        self.num_targets = num_targets
        self.projection = nn.Linear(d_model, num_targets * num_quantiles)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, H, d]`` to quantiles ``[B, H, Y, Q]``."""
        weight = self.projection.weight
        with torch.autocast(x.device.type, enabled=False):
            flat = functional.linear(x.to(weight.dtype), weight, self.projection.bias)
        return flat.view(*x.shape[:-1], self.num_targets, -1)
