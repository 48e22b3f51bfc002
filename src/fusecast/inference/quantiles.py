"""Quantile functions of forecasts: interpolation between the levels, tails beyond them, and the inverse.

Between the levels that were forecast the quantile function is linear. Beyond the outermost it has exponential tails
that begin with the slope of the outermost line: with x the lowest quantile, of level q, and s the slope there,
Q(p) = x + s * q * log(p / q) for p < q; likewise above. A forecast of a single level has no tails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fusecast.data.arrays import FloatArray


def interpolate_quantiles(quantiles: FloatArray, levels: Sequence[float], at: ArrayLike) -> FloatArray:
    """Return the quantile function of rising quantiles [..., Q] at the levels `at` [..., K]: [..., K].

    `at` may be [K] alone, the same levels everywhere.
    """
    level = np.asarray(levels, dtype=np.float64)
    p = np.broadcast_to(at, (*quantiles.shape[:-1], np.shape(at)[-1]))
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
    return np.where(p < level[0], below, np.where(p > level[-1], above, inner))


def find_levels(values: FloatArray, quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return the levels of values [...] under rising quantiles [..., Q]: the inverse of :func:`interpolate_quantiles`.

    Where several levels have the same quantile, the level is the middle of theirs. NaN stays NaN.
    """
    level = np.asarray(levels, dtype=np.float64)
    y = values[..., None]
    left, right = (quantiles < y).sum(axis=-1), (quantiles <= y).sum(axis=-1)
    last = len(level) - 1
    if last == 0:
        return np.where(np.isnan(values), np.nan, np.where(left == right, left.astype(np.float64), level[0]))
    upper = np.clip(right, 1, last)
    x0 = np.take_along_axis(quantiles, (upper - 1)[..., None], axis=-1)[..., 0]
    x1 = np.take_along_axis(quantiles, upper[..., None], axis=-1)[..., 0]
    p0, p1 = level[upper - 1], level[upper]
    slope = (x1 - x0) / (p1 - p0)
    divisor = np.where(slope > 0, slope, 1.0)
    inner = p0 + (values - x0) / divisor
    below = level[0] * np.exp(np.minimum(values - x0, 0) / (divisor * level[0]))
    above = 1 - (1 - level[-1]) * np.exp(-np.maximum(values - x1, 0) / (divisor * (1 - level[-1])))
    below, above = np.where(slope > 0, below, 0.0), np.where(slope > 0, above, 1.0)
    untied = np.where(right == 0, below, np.where(left == last + 1, above, inner))
    tied = (right > left) & (right > 0)
    middle = (level[np.clip(left, 0, last)] + level[np.clip(right - 1, 0, last)]) / 2
    return np.where(np.isnan(values), np.nan, np.where(tied, middle, untied))


def compute_median(quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return the medians [...] of quantiles [..., Q]; the nearest quantile where all levels lie on one side of 0.5."""
    level = min(max(0.5, levels[0]), levels[-1])
    if level in levels:
        return quantiles[..., list(levels).index(level)]
    return interpolate_quantiles(quantiles, levels, [level])[..., 0]
