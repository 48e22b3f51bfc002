"""Heads: from the decoded steps to quantiles (equation 23) or to a distribution."""

# ruff: noqa: ARG002  center and scale are arguments of every head

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from fusecast.errors import ConfigError
from fusecast.model.config import Head, ModelConfig
from fusecast.model.distributions.base import Distribution
from fusecast.model.distributions.location_scale import Normal, StudentT
from fusecast.model.distributions.negative_binomial import NegativeBinomial
from fusecast.model.distributions.tweedie import Tweedie


class _LinearHead(nn.Module):
    """A linear map for every number of every target: ``[B, H, d] -> [B, H, Y, P]``.

    It always computes in the precision of its weights: bfloat16 forecasts would have fewer than three digits.
    """

    def __init__(self, d_model: int, num_targets: int, num_outputs: int) -> None:
        super().__init__()
        self.num_targets = num_targets
        self.projection = nn.Linear(d_model, num_targets * num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, H, d]`` to ``[B, H, Y, P]``."""
        dtype = next(self.projection.parameters(), x).dtype  # quantised layers have no parameters
        with torch.autocast(x.device.type, enabled=False):
            flat: Tensor = self.projection(x.to(dtype))
        return flat.view(*x.shape[:-1], self.num_targets, -1)


class QuantileHead(_LinearHead):
    """A linear map for each target and quantile level (equation 23): ``[B, H, d] -> [B, H, Y, Q]``."""

    def forecast(
        self, x: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return quantiles ``[B, H, Y, Q]`` at the levels of the network, and no parameters ``[B, H, Y, 0]``.

        `x` are the decoded steps ``[B, H, d]``; `center` and `scale` are not used.
        Raise a ConfigError when other levels are requested.
        """
        if levels is not None:
            raise ConfigError.levels_are_fixed()
        quantiles: Tensor = self(x)
        return quantiles, quantiles[..., :0]


class DistributionHead(_LinearHead):
    """A linear map for each target and parameter of a distribution, and its quantiles; not in the paper."""

    def __init__(self, d_model: int, num_targets: int, distribution: Distribution) -> None:
        super().__init__(d_model, num_targets, len(distribution.parameter_names))
        self.distribution = distribution

    def forecast(
        self, x: Tensor, center: Tensor, scale: Tensor, levels: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return scaled quantiles ``[B, H, Y, Q]``, and the parameters ``[B, H, Y, P]`` of the distributions.

        `x` are the decoded steps ``[B, H, d]``. `center` and `scale` are ``[B, Y]``: ``value = scaled * scale +
        center``, in the units of the data. `levels` is None for those of the network; an empty list for no quantiles,
        which saves computing them. Parameters that are not finite have quantiles that are NaN.
        """
        with torch.autocast(x.device.type, enabled=False):
            raw = self(x)
            units = center.to(raw.dtype).unsqueeze(1), scale.to(raw.dtype).unsqueeze(1)
            parameters = self.distribution.constrain(raw, *units)
            if levels is not None and not len(levels):
                return raw[..., :0], parameters
            quantiles = self.distribution.quantiles(parameters, *units, levels).to(raw.dtype)
            broken = ~parameters.isfinite().all(dim=-1, keepdim=True)
            return quantiles.masked_fill(broken, torch.nan), parameters

    def log_prob(self, parameters: Tensor, target: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return the logarithm of the density or probability of scaled targets ``[B, H, Y]``.

        `parameters`, `center` and `scale` are as in :meth:`forecast`.
        """
        with torch.autocast(target.device.type, enabled=False):
            return self.distribution.log_prob(parameters, target, center.unsqueeze(1), scale.unsqueeze(1))


def build_head(config: ModelConfig) -> QuantileHead | DistributionHead:
    """Build the head of a configuration."""
    d, targets, levels = config.hidden_size, config.num_targets, config.quantiles
    if config.head == "quantile":
        return QuantileHead(d, targets, len(levels))
    distributions: dict[Head, Callable[[Sequence[float]], Distribution]] = {
        "normal": Normal,
        "student_t": StudentT,
        "negative_binomial": NegativeBinomial,
        "tweedie": partial(Tweedie, power=config.tweedie_power),
    }
    return DistributionHead(d, targets, distributions[config.head](levels))
