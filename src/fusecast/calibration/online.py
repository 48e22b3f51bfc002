"""Online calibration: shifts that are updated after every outcome, and the rate of these updates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fusecast.calibration.step_shifts import shifts_by_step
from fusecast.data.arrays import FloatArray, IntArray

DEFAULT_RATE = 0.05
"""Part of its unit that a shift moves for an outcome, where there is too little data to choose it by."""
RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
MAX_LOSS_INCREASE = 0.02
"""Part by which the pinball loss may rise for shifts that adapt faster, and so keep their coverage better."""
MIN_REPLAY_HORIZONS = 8
"""Horizons of origins that a replay needs: half of them to fit the shifts on, half to replay."""


def track_shifts(
    start: FloatArray,
    scores: Sequence[FloatArray],
    levels: tuple[float, ...],
    rate: float,
    every: int,
    origins: IntArray | None = None,
) -> FloatArray:
    """Return the shifts after 0, 1, ... n known outcomes of each step, [n + 1, H, Y, Q].

    An outcome moves the shift of its step up by `rate` times the share of actuals (of all series) that lay above it
    in excess of the nominal share, and down where too few did.

    Parameters
    ----------
    start
        [H, Y, Q]
    scores
        Of n origins, `every` steps apart: [S, H, Y, Q] each, NaN where nothing is known.
    origins
        Numbers of these origins, rising [n], where some without a known outcome are left out; None is all.
    """
    level, step = np.asarray(levels), np.arange(start.shape[0])
    origins = np.arange(len(scores)) if origins is None else origins
    shifts = np.empty((len(scores) + 1, *start.shape))
    shifts[0] = start
    for i, score in enumerate(scores):
        known = np.searchsorted(origins, count_known_outcomes(int(origins[i]), step, every))
        applied = shifts[known, step]  # when the forecast was made
        present = ~np.isnan(score)
        below = np.where(present, score <= applied, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
        error = np.where(present.any(axis=0), level - below, 0.0)
        shifts[i + 1] = shifts[i] + rate * error
    return shifts


def count_known_outcomes(origin: int, step: IntArray, every: int) -> IntArray:
    """Return how many outcomes of each step are known at an origin, where origins are `every` steps apart."""
    return np.maximum(origin - step // every, 0)


def choose_rate(scores: FloatArray, levels: tuple[float, ...], back: IntArray, every: int) -> float:
    """Choose the rate at which shifts follow outcomes, by the loss of each rate in a replay of the span itself.

    Shifts fitted on the earlier half of the origins are tracked over the later half, once for each of `RATES`.
    The result is the fastest whose pinball loss, in units of the windows, is at most 2% above the lowest: a faster
    shift keeps its coverage closer, at the price of more variable intervals. Spans of fewer than eight horizons have
    `DEFAULT_RATE`.

    Parameters
    ----------
    scores
        [W, H, Y, Q], NaN where nothing is known.
    back
        Rows from the cutoff of each window to the last cutoff of its series, [W].
    every
        Steps between the origins whose outcomes move a shift.
    """
    horizon, num_origins = scores.shape[1], int(back.max(initial=0)) + 1
    if num_origins < MIN_REPLAY_HORIZONS * horizon:
        return DEFAULT_RATE
    stride = int(np.gcd.reduce(back)) or 1  # of windows that were thinned
    every = math.ceil(every / stride) * stride
    replayed = np.arange(num_origins // 2 // every, -1, -1) * every
    early = back >= replayed[0] + horizon
    start = shifts_by_step(scores[early], levels, back[early] - back[early].min())
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
