"""Tracking: shifts that move after every outcome, and how fast they should."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusecast.calibration.step_shifts import shifts_by_step

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RATE = 0.05
"""Part of its unit that a shift moves for an outcome, where there is too little to choose it by."""
RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
MAX_LOSS_INCREASE = 0.02
"""Part by which the pinball loss may rise for shifts that follow faster, and so hold their coverage better."""
FEWEST_HORIZONS = 8
"""Horizons of origins at least for a replay: half of them to learn from, half to replay."""


def track_shifts(
    start: Floats,
    scores: Sequence[Floats],
    levels: tuple[float, ...],
    rate: float,
    every: int,
    places: Ints | None = None,
) -> Floats:
    """Give the shifts after 0, 1, ... n known outcomes of each step, [n + 1, H, Y, Q].

    An outcome moves the shift of its step up by `rate` times the share of actuals (of all series) that lay above it
    beyond what should, and down by the share that lay below.

    Parameters
    ----------
    start
        [H, Y, Q]
    scores
        Of n origins, `every` steps apart: [S, H, Y, Q] each, NaN where nothing is known.
    places
        Which of such origins they are, rising [n], where some are left out that nothing is known of; None is all.
    """
    level, step = np.asarray(levels), np.arange(start.shape[0])
    places = np.arange(len(scores)) if places is None else places
    shifts = np.empty((len(scores) + 1, *start.shape))
    shifts[0] = start
    for number, score in enumerate(scores):
        earlier = np.searchsorted(places, known(int(places[number]), step, every))
        in_force = shifts[earlier, step]  # when the forecast was made
        present = ~np.isnan(score)
        below = np.where(present, score <= in_force, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
        error = np.where(present.any(axis=0), level - below, 0.0)
        shifts[number + 1] = shifts[number] + rate * error
    return shifts


def known(number: int, step: Ints, every: int) -> Ints:
    """How many outcomes of a step are known at origin `number`, where origins are `every` steps apart."""
    return np.maximum(number - step // every, 0)


def rate_by_replay(scores: Floats, levels: tuple[float, ...], back: Ints, every: int) -> float:
    """Choose how fast shifts follow outcomes, by what each rate would have come to on the span itself.

    Shifts learned from the earlier half of the origins are tracked over the later half, once for each of `RATES`.
    Chosen is the fastest whose pinball loss, in units of the windows, is at most 2% above the lowest: a faster shift
    keeps its coverage closer, and pays for it in restless intervals. Spans of fewer than eight horizons keep `RATE`.

    Parameters
    ----------
    scores
        [W, H, Y, Q], NaN where nothing is known.
    back
        Rows from the cutoff of each window to the last cutoff of its series, [W].
    every
        Steps between origins that are learned from.
    """
    horizon, origins = scores.shape[1], int(back.max(initial=0)) + 1
    if origins < FEWEST_HORIZONS * horizon:
        return RATE
    stride = int(np.gcd.reduce(back)) or 1  # of windows that were thinned
    every = -(-every // stride) * stride
    replayed = np.arange(origins // 2 // every, -1, -1) * every
    early = back >= replayed[0] + horizon
    start = shifts_by_step(scores[early], levels, back[early] - back[early].min())
    seen = [scores[back == place] for place in replayed.tolist()]
    losses = [_loss(track_shifts(start, seen, levels, rate, every), seen, levels, every) for rate in RATES]
    return max(rate for rate, loss in zip(RATES, losses, strict=True) if loss <= (1 + MAX_LOSS_INCREASE) * min(losses))


def _loss(shifts: Floats, scores: Sequence[Floats], levels: tuple[float, ...], every: int) -> float:
    """Mean pinball loss of scores by the shifts that were in force."""
    level, step = np.asarray(levels), np.arange(shifts.shape[1])
    total, count = 0.0, 0
    for number, score in enumerate(scores):
        over = score - shifts[known(number, step, every), step]
        total += float(np.nansum(np.maximum(level * over, (level - 1) * over)))
        count += int((~np.isnan(over)).sum())
    return total / max(count, 1)
