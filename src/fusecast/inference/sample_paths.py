"""Sample paths: scenarios drawn from forecasts whose steps depend on one another as they did in the past."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from fusecast.data.arrays import FloatArray
from fusecast.errors import ConfigError, DataError
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.quantiles import find_levels, interpolate_quantiles

SamplingMethod = Literal["gaussian", "empirical", "independent"]
MIN_WINDOWS = 10
"""Complete windows that are needed to fit the dependence of steps."""


def sample_paths(
    forecasts: Forecasts,
    dependence: StepDependence,
    count: int,
    *,
    seed: int = 0,
    method: SamplingMethod = "gaussian",
) -> FloatArray:
    """Draw paths from forecasts: [count, W, H, Y], none below their bound. The same seed yields the same paths.

    `method` is one of :meth:`StepDependence.draw_levels`. Raise a ConfigError when `count` is below 1, there is no such
    method, or the forecasts have a single level, which says nothing about the others.
    """
    if count < 1:
        raise ConfigError.not_positive("count", count)
    if len(forecasts.levels) == 1:
        raise ConfigError.single_level(forecasts.levels[0])
    rng = np.random.default_rng(seed)
    quantiles = forecasts.sorted().quantiles
    windows, horizon, targets, _ = quantiles.shape
    paths = np.empty((count, windows, horizon, targets))
    for window in range(windows):
        levels = dependence.draw_levels(count, rng, method).reshape(count, horizon, targets)
        values = interpolate_quantiles(quantiles[window], forecasts.levels, np.moveaxis(levels, 0, -1))
        paths[:, window] = np.moveaxis(values, -1, 0)
    return paths if forecasts.lowest is None else np.maximum(paths, forecasts.lowest)


@dataclass(frozen=True, kw_only=True, eq=False)
class StepDependence:
    """The quantile levels of past actuals under their forecasts, window by window.

    A sample path draws the levels of its steps together and reads each step's value from that step's quantiles. So each
    step alone has the forecast distribution, and the steps depend on one another as in the windows of the fit. Series
    are drawn independently: dependence between series is not modelled.
    """

    levels: FloatArray  # [W, H * Y] in (0, 1)

    def __repr__(self) -> str:
        return f"StepDependence({self.levels.shape[0]} windows of {self.levels.shape[1]} steps)"

    @classmethod
    def fit(cls, forecasts: Forecasts, actual: FloatArray) -> StepDependence:
        """Fit to forecasts and their actuals [W, H, Y]; windows with a missing value are left out.

        Raise a DataError when fewer than :data:`MIN_WINDOWS` are complete.
        """
        width = actual.shape[1] * actual.shape[2]
        levels = find_levels(actual, forecasts.sorted().quantiles, forecasts.levels).reshape(len(actual), width)
        complete = levels[~np.isnan(levels).any(axis=1)]
        if len(complete) < MIN_WINDOWS:
            raise DataError.too_few_for_dependence(len(complete), MIN_WINDOWS)
        return cls(levels=np.clip(complete, 1e-6, 1 - 1e-6))

    def correlation(self) -> FloatArray:
        """Return the correlation of the normal scores of the levels' ranks, [H * Y, H * Y]: the Gaussian copula.

        It is shrunk towards independence by the share (H * Y) / (H * Y + W), which keeps it positive definite
        where there are fewer windows than would determine it.
        """
        from scipy.special import ndtri
        from scipy.stats import rankdata

        windows, width = self.levels.shape
        scores = ndtri((rankdata(self.levels, axis=0) - 0.5) / windows)
        deviation = scores.std(axis=0)
        standardized = scores / np.where(deviation > 0, deviation, 1.0)
        correlation = np.asarray(standardized.T @ standardized, dtype=np.float64) / windows
        np.fill_diagonal(correlation, 1.0)
        share = width / (width + windows)
        return np.asarray((1 - share) * correlation + share * np.eye(width))

    @cached_property
    def _cholesky(self) -> FloatArray:
        return np.asarray(np.linalg.cholesky(self.correlation()), dtype=np.float64)

    def draw_levels(self, count: int, rng: np.random.Generator, method: SamplingMethod = "gaussian") -> FloatArray:
        """Draw dependent levels [count, H * Y], each column uniform on (0, 1).

        ``gaussian`` draws from the Gaussian copula of the ranks; ``empirical`` takes the order of the draws from
        past windows (the Schaake shuffle of Clark et al. 2004); ``independent`` draws each step alone. Raise a
        ConfigError when there is no such method.
        """
        from scipy.special import ndtr
        from scipy.stats import rankdata

        width = self.levels.shape[1]
        if method == "independent":
            return rng.random((count, width))
        if method == "gaussian":
            return np.asarray(np.clip(ndtr(rng.standard_normal((count, width)) @ self._cholesky.T), 1e-9, 1 - 1e-9))
        if method != "empirical":
            raise ConfigError.not_one_of("method", method, get_args(SamplingMethod))
        repeats = math.ceil(count / len(self.levels))
        windows = np.concatenate([rng.permutation(len(self.levels)) for _ in range(repeats)])[:count]
        jitter = rng.random((count, width)) * 1e-9  # decides between equal levels
        order = rankdata(self.levels[windows] + jitter, axis=0, method="ordinal") - 1
        return np.asarray((order + rng.random((count, width))) / count)
