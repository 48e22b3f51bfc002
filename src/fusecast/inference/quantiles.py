"""Levels: from the quantiles that were forecast to any other, and from values back to their levels.

Between the levels that were forecast the quantile function is a straight line. Beyond the outermost it has
exponential tails that leave with the slope of the outermost line: with x the lowest quantile, of level q, and s the
slope there, Q(p) = x + s * q * log(p / q) for p < q; likewise above. A forecast of one level alone has no tails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusecast.inference.forecasts import Forecasts
from fusecast.model.config import validate_quantile_levels

Floats = NDArray[np.float64]


def at_levels(forecasts: Forecasts, levels: Sequence[float], *, lowest: float | None = None) -> Forecasts:
    """Give the forecasts at other levels; levels that were forecast stay exactly as they were.

    Parameters
    ----------
    levels
        Rising, inside (0, 1).
    lowest
        Smallest value that the target can have; the lower tail ends there. None where there is no such bound.

    Raises
    ------
    ConfigError
        When the levels do not rise or lie outside (0, 1).
    """
    wanted = validate_quantile_levels(levels)
    made = quantile_at(forecasts.sorted().quantiles, forecasts.levels, np.asarray(wanted))
    if lowest is not None:
        made = np.maximum(made, np.minimum(lowest, forecasts.quantiles.min(axis=-1, keepdims=True)))
    return Forecasts(series=forecasts.series, cutoff=forecasts.cutoff, quantiles=made, levels=wanted)


def quantile_at(quantiles: Floats, levels: Sequence[float], wanted: ArrayLike) -> Floats:
    """Give the quantile function of rising quantiles [..., Q] at levels `wanted` [..., K]: [..., K].

    `wanted` may be [K] alone, the same levels everywhere.
    """
    level = np.asarray(levels, dtype=np.float64)
    p = np.broadcast_to(wanted, (*quantiles.shape[:-1], np.shape(wanted)[-1]))
    if len(level) == 1:
        return np.broadcast_to(quantiles, p.shape).copy()
    upper = np.clip(np.searchsorted(level, p, side="left"), 1, len(level) - 1)
    x0 = np.take_along_axis(quantiles, upper - 1, axis=-1)
    x1 = np.take_along_axis(quantiles, upper, axis=-1)
    p0, p1 = level[upper - 1], level[upper]
    share = (p - p0) / (p1 - p0)
    inner = np.where(share == 1.0, x1, x0 + np.clip(share, 0, 1) * (x1 - x0))
    slope = (x1 - x0) / (p1 - p0)
    with np.errstate(divide="ignore"):
        below = x0 + slope * level[0] * np.log(np.where(p < level[0], p, level[0]) / level[0])
        rest = 1 - level[-1]
        above = x1 - slope * rest * np.log(np.where(p > level[-1], 1 - p, rest) / rest)
    made: Floats = np.where(p < level[0], below, np.where(p > level[-1], above, inner))
    return made


def level_of(values: Floats, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """Give the level of values [...] under rising quantiles [..., Q]: the inverse of :func:`quantile_at`.

    Where several levels have the same quantile, the value gets the middle of them. NaN stays NaN.
    """
    level = np.asarray(levels, dtype=np.float64)
    y = values[..., None]
    left, right = (quantiles < y).sum(axis=-1), (quantiles <= y).sum(axis=-1)
    last = len(level) - 1
    upper = np.clip(right, 1, max(last, 1))
    if last == 0:
        return np.where(np.isnan(values), np.nan, np.where(left == right, left.astype(np.float64), level[0]))
    x0 = np.take_along_axis(quantiles, (upper - 1)[..., None], axis=-1)[..., 0]
    x1 = np.take_along_axis(quantiles, upper[..., None], axis=-1)[..., 0]
    p0, p1 = level[upper - 1], level[upper]
    slope = (x1 - x0) / (p1 - p0)
    steep = np.where(slope > 0, slope, 1.0)
    inner = p0 + (values - x0) / steep
    low = level[0] * np.exp(np.minimum(values - x0, 0) / (steep * level[0]))
    high = 1 - (1 - level[-1]) * np.exp(-np.maximum(values - x1, 0) / (steep * (1 - level[-1])))
    low, high = np.where(slope > 0, low, 0.0), np.where(slope > 0, high, 1.0)
    found = np.where(right == 0, low, np.where(left == last + 1, high, inner))
    tied = (right > left) & (right > 0)
    middle = (level[np.clip(left, 0, last)] + level[np.clip(right - 1, 0, last)]) / 2
    return np.where(np.isnan(values), np.nan, np.where(tied, middle, found))
