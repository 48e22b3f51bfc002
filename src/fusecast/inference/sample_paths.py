"""Dependence: how the steps of one forecast hang together, for samples that are plausible as whole paths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fusecast.errors import ConfigError, DataError
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.quantiles import level_of, quantile_at

Floats = NDArray[np.float64]

METHODS = ("gaussian", "empirical", "independent")
FEWEST = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Dependence:
    """The levels at which past actuals fell, window by window: the ranks of what the forecasts left open.

    A sample path draws its levels together and reads each step's value off that step's own quantiles. So every step
    alone has the forecast distribution, and the steps move together as they did in the windows learned from. Series
    are drawn apart: dependence between series is not modelled.
    """

    levels: Floats  # [W, H * Y] in (0, 1)

    @classmethod
    def learn(cls, forecasts: Forecasts, actual: Floats) -> Dependence:
        """Learn from forecasts and what happened, [W, H, Y]; windows with a missing value are left out.

        Raises
        ------
        DataError
            When fewer than ten windows are complete.
        """
        width = actual.shape[1] * actual.shape[2]
        found = level_of(actual, forecasts.sorted().quantiles, forecasts.levels).reshape(len(actual), width)
        complete = found[~np.isnan(found).any(axis=1)]
        if len(complete) < FEWEST:
            raise DataError.too_few_for_dependence(len(complete), FEWEST)
        return cls(levels=np.clip(complete, 1e-6, 1 - 1e-6))

    @cached_property
    def _root(self) -> Floats:
        return np.asarray(np.linalg.cholesky(self.correlation()), dtype=np.float64)

    def correlation(self) -> Floats:
        """Correlation of the normal scores of the levels' ranks, [H * Y, H * Y]: the Gaussian copula.

        With fewer windows than would determine it, it is drawn towards independence by the share
        (H * Y) / (H * Y + W), which also keeps it positive definite.
        """
        from scipy.special import ndtri
        from scipy.stats import rankdata

        windows, width = self.levels.shape
        scores = ndtri((rankdata(self.levels, axis=0) - 0.5) / windows)
        spread = scores.std(axis=0)
        unit = scores / np.where(spread > 0, spread, 1.0)
        found = np.asarray(unit.T @ unit, dtype=np.float64) / windows
        np.fill_diagonal(found, 1.0)
        share = width / (width + windows)
        shrunk: Floats = (1 - share) * found + share * np.eye(width)
        return shrunk

    def draw(self, count: int, rng: np.random.Generator, method: str = "gaussian") -> Floats:
        """Draw levels that hang together, [count, H * Y], each column uniform on (0, 1).

        ``gaussian`` draws from the Gaussian copula of the ranks; ``empirical`` takes the order of the draws from
        windows as they were (the Schaake shuffle of Clark et al. 2004); ``independent`` draws each step alone.

        Raises
        ------
        ConfigError
            When there is no such method.
        """
        from scipy.special import ndtr
        from scipy.stats import rankdata

        width = self.levels.shape[1]
        if method == "independent":
            return rng.random((count, width))
        if method == "gaussian":
            drawn: Floats = ndtr(rng.standard_normal((count, width)) @ self._root.T)
            inside: Floats = np.clip(drawn, 1e-9, 1 - 1e-9)
            return inside
        if method != "empirical":
            raise ConfigError.not_one_of("method", method, METHODS)
        repeats = -(-count // len(self.levels))
        chosen = np.concatenate([rng.permutation(len(self.levels)) for _ in range(repeats)])[:count]
        jitter = rng.random((count, width)) * 1e-9  # decides between equal levels
        order = rankdata(self.levels[chosen] + jitter, axis=0, method="ordinal") - 1
        spread: Floats = (order + rng.random((count, width))) / count
        return spread


def sample(
    forecasts: Forecasts,
    dependence: Dependence,
    count: int,
    *,
    seed: int = 0,
    method: str = "gaussian",
    lowest: float | None = None,
) -> Floats:
    """Draw paths from forecasts: [count, W, H, Y]. The same seed gives the same paths.

    Parameters
    ----------
    method
        As in :meth:`Dependence.draw`.
    lowest
        Smallest value that the target can have; None where there is no such bound.

    Raises
    ------
    ConfigError
        When `count` is below 1, or there is no such method.
    """
    if count < 1:
        raise ConfigError.not_positive("count", count)
    rng = np.random.default_rng(seed)
    quantiles = forecasts.sorted().quantiles
    windows, horizon, targets, _ = quantiles.shape
    paths = np.empty((count, windows, horizon, targets))
    for window in range(windows):
        drawn = dependence.draw(count, rng, method).reshape(count, horizon, targets)
        made = quantile_at(quantiles[window], forecasts.levels, np.moveaxis(drawn, 0, -1))
        paths[:, window] = np.moveaxis(made if lowest is None else np.maximum(made, lowest), -1, 0)
    return paths
