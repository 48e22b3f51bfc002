"""Conformal quantiles of scores for each step ahead, shrunk towards that of all steps together."""

from __future__ import annotations

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray

MIN_SPANS = 4
"""Spans of time that the origins are divided into at least, to estimate chance from."""


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

    Few origins are few observations, however many series there are: outcomes within one horizon of each other share
    the same shocks. With p_h the conformal quantile at step h, p that of all steps together, and v_h the variance
    of p_h - p that chance alone would give, it is the empirical Bayes estimate of many means (Efron, Morris 1975):

        p + max(0, 1 - mean v_h / var p_h) * (p_h - p)

    Chance is estimated from spans of time one horizon long (a quarter of the origins where those are fewer than four
    horizons): v_h is the variance between spans of the difference of step h from the mean of the steps, over the
    number of horizons that the origins fill.

    Parameters
    ----------
    scores
        [W, H, Y, Q], NaN where nothing is known.
    back
        Rows from the cutoff of each window to the last cutoff of its series, [W].
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
