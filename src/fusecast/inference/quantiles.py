"""Quantile functions of forecasts: interpolation between the levels, tails beyond them, the inverse, and mixtures.

Between the levels that were forecast the quantile function is linear. Beyond the outermost it has exponential tails
that begin with the slope of the outermost line: with x the lowest quantile, of level q, and s the slope there,
Q(p) = x + s * q * log(p / q) for p < q; likewise above. A forecast of a single level has no tails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fusecast.data.arrays import FloatArray, IntArray

MIXED_AT_ONCE = 16_384
"""Forecast values whose mixtures are computed at a time, which bounds the memory."""


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


def mix_quantiles(quantiles: Sequence[FloatArray], levels: Sequence[float]) -> FloatArray:
    """Return the quantiles [..., Q] of a mixture with equal weights of distributions with rising quantiles [..., Q].

    Its distribution function is the mean of theirs (the linear opinion pool; Stone, 1961), computed at every quantile
    of every part, and linear between them. A single level is no distribution: its quantiles are averaged.
    """
    if len(levels) == 1:
        return np.asarray(np.mean(quantiles, axis=0))
    parts = np.stack(quantiles, axis=-2).reshape(-1, len(quantiles), len(levels))
    level = np.asarray(levels, dtype=np.float64)
    pieces = [_mix_parts(parts[at : at + MIXED_AT_ONCE], level) for at in range(0, len(parts), MIXED_AT_ONCE)]
    return np.concatenate([np.empty((0, len(level))), *pieces]).reshape(quantiles[0].shape)


def _mix_parts(parts: FloatArray, level: FloatArray) -> FloatArray:
    """Return the quantiles [R, Q] of mixtures of `M` parts [R, M, Q]."""
    values = parts.reshape(len(parts), -1)
    order = np.argsort(values, axis=-1, kind="stable")
    values = np.take_along_axis(values, order, axis=-1)  # [R, MQ], rising
    heights = np.zeros_like(values)  # of the distribution function there; equal values have several
    for number in range(parts.shape[1]):
        passed = np.cumsum(order // len(level) == number, axis=-1)
        heights += _levels_after(passed, values, parts[:, number], level)
    heights /= parts.shape[1]
    upper = (heights[:, None] < level[:, None]).sum(axis=-1).clip(1, heights.shape[1] - 1)  # [R, Q]
    x0, x1, p0, p1 = (np.take_along_axis(each, at, axis=-1) for each in (values, heights) for at in (upper - 1, upper))
    share = np.clip((level - p0) / np.where(p1 > p0, p1 - p0, 1.0), 0.0, 1.0)
    return np.where(share == 1.0, x1, x0 + share * (x1 - x0))


def _levels_after(passed: IntArray, values: FloatArray, quantiles: FloatArray, level: FloatArray) -> FloatArray:
    """Return the levels of values [R, K] under rising quantiles [R, Q], of which so many [R, K] do not lie above."""
    last = len(level) - 1
    lower = np.clip(passed - 1, 0, last - 1)
    x0, x1 = np.take_along_axis(quantiles, lower, axis=-1), np.take_along_axis(quantiles, lower + 1, axis=-1)
    p0, p1 = level[lower], level[lower + 1]
    width = np.where(x1 > x0, x1 - x0, 1.0)
    with np.errstate(over="ignore"):  # in values outside, of quantiles that are almost equal
        result = np.where(passed == last + 1, p1, p0 + (values - x0) / width * (p1 - p0))
    below = (passed == 0) & (values < x0)
    above = (passed == last + 1) & (values > x1)
    for outside, end, rest, sign in ((below, x0, level[0], 1.0), (above, x1, 1.0 - level[-1], -1.0)):
        slope = ((x1 - x0) / (p1 - p0))[outside]
        with np.errstate(divide="ignore", over="ignore"):
            tail = rest * np.exp(sign * (values - end)[outside] / (slope * rest))
        result[outside] = tail if sign > 0 else 1.0 - tail
    return result


def compute_median(quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return the medians [...] of quantiles [..., Q]; the nearest quantile where all levels lie on one side of 0.5."""
    level = min(max(0.5, levels[0]), levels[-1])
    if level in levels:
        return quantiles[..., list(levels).index(level)]
    return interpolate_quantiles(quantiles, levels, [level])[..., 0]
