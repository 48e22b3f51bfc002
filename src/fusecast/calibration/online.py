"""Shifts of quantiles by step ahead: fitted on a span of outcomes, then updated online with every later one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray

DEFAULT_RATE = 0.02  # part of its unit that a shift moves for an outcome, where data are too few to choose it by
RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
MAX_LOSS_INCREASE = 0.01  # part by which the pinball loss may rise for shifts that adapt faster
MIN_REPLAY_HORIZONS = 30  # horizons of origins that a replay needs: half of them to fit the shifts on, half to replay
MIN_SPANS = 4  # spans of time that the origins are divided into at least, to estimate chance from


def conformal_quantiles(scores: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Return the conformal quantile of scores [n, ..., Q] at each level, [..., Q]; NaN is left out.

    Of n scores in order, the ceil((n + 1) q)-th for levels q of 0.5 and above, and its mirror image below: the share of
    new scores at or below it is then at least q (at most, below 0.5). Beyond the n-th it is the n-th.
    """
    ordered = np.sort(scores, axis=0)  # NaN comes last
    count = (~np.isnan(scores)).sum(axis=0)
    level = np.asarray(levels)
    rank = np.where(level >= 0.5, np.ceil((count + 1) * level - 1e-9), np.floor((count + 1) * level + 1e-9))
    i = np.clip(rank, 1, np.maximum(count, 1)).astype(np.int64) - 1
    quantiles: FloatArray = np.take_along_axis(ordered, i[None], axis=0)[0]
    return quantiles


def shifts_by_step(scores: FloatArray, levels: tuple[float, ...], back: IntArray) -> FloatArray:
    """Return the shift of each step ahead, [H, Y, Q], shrunk to that of all steps as far as chance explains it.

    `scores` are [W, H, Y, Q], NaN where nothing is known; `back` [W] counts the rows from the cutoff of each window to
    the last cutoff of its series. Few origins are few observations, however many series there are: outcomes within one
    horizon of each other share the same shocks. With p_h the conformal quantile at step h, p that of all steps
    together, and v_h the variance of p_h - p that chance alone would give, the shift is the empirical Bayes estimate of
    many means (Efron, Morris 1975):

        p + max(0, 1 - mean v_h / var p_h) * (p_h - p)

    Chance is estimated from spans of time one horizon long (a quarter of the origins where those are fewer than four
    horizons): v_h is the variance between spans of the difference of step h from the mean of the steps, over the
    number of horizons that the origins fill.
    """
    by_step = conformal_quantiles(scores, levels)
    pooled = conformal_quantiles(scores.reshape(-1, *scores.shape[2:]), levels)
    horizon, num_origins = scores.shape[1], int(back.max(initial=0)) + 1
    span = back // max(1, min(horizon, num_origins // MIN_SPANS))
    by_span = [conformal_quantiles(scores[span == i], levels) for i in np.unique(span).tolist()]
    complete = [quantiles for quantiles in by_span if not np.isnan(quantiles).any()]
    if horizon == 1 or len(complete) < 2:
        return np.broadcast_to(pooled, by_step.shape).copy()
    differences = np.stack(complete)  # [spans, H, Y, Q]
    differences = differences - differences.mean(axis=1, keepdims=True)
    chance = differences.var(axis=0, ddof=1).mean(axis=0) / max(1.0, num_origins / horizon)
    variance = by_step.var(axis=0, ddof=1)
    weight = np.clip(1 - chance / np.where(variance > 0, variance, 1.0), 0.0, 1.0)
    return pooled + np.where(variance > 0, weight, 0.0) * (by_step - pooled)


def without_location(shifts: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Return shifts [..., Q] less that of the median, which is then 0; the shifts themselves without such a level."""
    return shifts - shifts[..., levels.index(0.5)][..., None] if 0.5 in levels else shifts


def track_shifts(
    start: FloatArray,
    scores: Sequence[FloatArray],
    levels: tuple[float, ...],
    rate: float,
    every: int,
    origins: IntArray | None = None,
    *,
    shift_median: bool = False,
) -> FloatArray:
    """Return the shifts, from `start` [H, Y, Q] on, after 0, 1, ... n known outcomes of each step, [n + 1, H, Y, Q].

    An outcome moves the shift of its step up by `rate` times the share of actuals (of all series) that lay above it
    in excess of the nominal share, and down where too few did. `scores` are those of n origins, `every` steps apart:
    [S, H, Y, Q] each, NaN where nothing is known. `origins` are the numbers of these origins, rising [n], where some
    without a known outcome are left out; None is all. The shift of the median stays, unless `shift_median`.
    """
    level, step = np.asarray(levels), np.arange(start.shape[0])
    origins = np.arange(len(scores)) if origins is None else origins
    moves = shift_median | (level != 0.5)
    shifts = np.empty((len(scores) + 1, *start.shape))
    shifts[0] = start
    for i, score in enumerate(scores):
        known = np.searchsorted(origins, count_known_outcomes(int(origins[i]), step, every))
        applied = shifts[known, step]  # when the forecast was made
        present = ~np.isnan(score)
        below = np.where(present, score <= applied, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
        error = np.where(present.any(axis=0) & moves, level - below, 0.0)
        shifts[i + 1] = shifts[i] + rate * error
    return shifts


def count_known_outcomes(origin: int, step: IntArray, every: int) -> IntArray:
    """Return how many outcomes of each step are known at an origin, where origins are `every` steps apart."""
    return np.maximum(origin - step // every, 0)


def choose_rate(scores: FloatArray, levels: tuple[float, ...], back: IntArray, every: int) -> float:
    """Choose the rate at which shifts follow outcomes, by the loss of each rate in a replay of the span itself.

    Shifts fitted on the earlier half of the origins are tracked over the later half, by every `every`-th of them, once
    for each of `RATES`; `scores` and `back` are those of :func:`shifts_by_step`. The result is the fastest whose
    pinball loss, in units of the windows, is at most 1% above the lowest: a faster shift keeps its coverage closer, at
    the price of more variable intervals. Spans of fewer than thirty horizons have `DEFAULT_RATE`.
    """
    horizon, num_origins = scores.shape[1], int(back.max(initial=0)) + 1
    if num_origins < MIN_REPLAY_HORIZONS * horizon:
        return DEFAULT_RATE
    stride = int(np.gcd.reduce(back)) or 1  # of windows that were thinned
    every = math.ceil(every / stride) * stride
    replayed = np.arange(num_origins // 2 // every, -1, -1) * every
    early = back >= replayed[0] + horizon
    start = without_location(shifts_by_step(scores[early], levels, back[early] - back[early].min()), levels)
    late = [scores[back == rows] for rows in replayed.tolist()]
    losses = [_mean_loss(track_shifts(start, late, levels, rate, every), late, levels, every) for rate in RATES]
    return max(rate for rate, loss in zip(RATES, losses, strict=True) if loss <= (1 + MAX_LOSS_INCREASE) * min(losses))


def _mean_loss(shifts: FloatArray, scores: Sequence[FloatArray], levels: tuple[float, ...], every: int) -> float:
    """Return the mean pinball loss of the shifts that were applied to each origin."""
    level, step = np.asarray(levels), np.arange(shifts.shape[1])
    total, count = 0.0, 0
    for i, score in enumerate(scores):
        above = score - shifts[count_known_outcomes(i, step, every), step]
        total += float(np.nansum(np.maximum(level * above, (level - 1) * above)))
        count += int((~np.isnan(above)).sum())
    return total / max(count, 1)
