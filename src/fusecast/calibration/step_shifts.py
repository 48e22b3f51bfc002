"""Shifts: conformal quantiles of scores for each step ahead, as far apart as the outcomes bear out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCKS = 4
"""Spans of time at least that the origins are cut into to see chance, where they are fewer than four horizons."""


def conformal_quantiles(scores: Floats, levels: tuple[float, ...]) -> Floats:
    """Give the conformal quantile of scores [n, ..., Q] at each level, [..., Q]; NaN is left out.

    Of n scores in order, the ceil((n + 1) q)-th for levels q of 0.5 and above, and its mirror image below: the share of
    new scores at or below it is then at least q (at most, below 0.5). Beyond the n-th it is the n-th.
    """
    ordered = np.sort(scores, axis=0)  # NaN comes last
    count = (~np.isnan(scores)).sum(axis=0)
    level = np.asarray(levels)
    rank = np.where(level >= 0.5, np.ceil((count + 1) * level - 1e-9), np.floor((count + 1) * level + 1e-9))
    place = np.clip(rank, 1, np.maximum(count, 1)).astype(np.int64) - 1
    picked: Floats = np.take_along_axis(ordered, place[None], axis=0)[0]
    return picked


def shifts_by_step(scores: Floats, levels: tuple[float, ...], back: Ints) -> Floats:
    """Give the shift of each step ahead, [H, Y, Q], drawn towards the shift of all steps as far as chance explains it.

    Few origins are few observations, however many series there are: outcomes within one horizon of each other share
    what happened to all. With p_h the conformal quantile at step h, p that of all steps together, and v_h the variance
    of p_h - p that chance alone would give, it is the empirical Bayes estimate of many means (Efron, Morris 1975):

        p + max(0, 1 - mean v_h / var p_h) * (p_h - p)

    Chance is seen in spans of time one horizon long (a quarter of the origins where those are fewer than four
    horizons): v_h is the variance between spans of what step h has beyond the mean of the steps, over the number of
    horizons that the origins fill.

    Parameters
    ----------
    scores
        [W, H, Y, Q], NaN where nothing is known.
    back
        Rows from the cutoff of each window to the last cutoff of its series, [W].
    """
    own = conformal_quantiles(scores, levels)
    together = conformal_quantiles(scores.reshape(-1, *scores.shape[2:]), levels)
    horizon, origins = scores.shape[1], int(back.max(initial=0)) + 1
    length = max(1, min(horizon, origins // BLOCKS))
    spans = [
        conformal_quantiles(scores[back // length == number], levels) for number in np.unique(back // length).tolist()
    ]
    whole = [span for span in spans if not np.isnan(span).any()]
    if horizon == 1 or len(whole) < 2:
        return np.broadcast_to(together, own.shape).copy()
    beyond = np.stack(whole)  # [spans, H, Y, Q]
    beyond = beyond - beyond.mean(axis=1, keepdims=True)
    chance = beyond.var(axis=0, ddof=1).mean(axis=0) / max(1.0, origins / horizon)
    between = own.var(axis=0, ddof=1)
    kept = np.clip(1 - chance / np.where(between > 0, between, 1.0), 0.0, 1.0)
    return together + np.where(between > 0, kept, 0.0) * (own - together)
