"""Chance: how far a share that was counted over some stretch of time may lie off by chance alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def standard_error(inside: NDArray[np.float64], time: NDArray[np.int64], horizon: int) -> float:
    """Give the standard error of a mean over forecast steps, where one moment hits all series and lasts.

    The values of each moment are one observation, and observations up to a horizon apart are taken to hang together
    (Newey, West 1987; Bartlett weights up to `horizon` moments). It is an estimate itself, and too small where the
    moments are few.

    Parameters
    ----------
    inside
        Of each forecast step, such as 1 where the actual lay inside an interval and 0 elsewhere, [n]; NaN is left out.
    time
        Moment of each step, any rising numbers, [n].
    horizon
        Steps of a forecast.
    """
    known = ~np.isnan(inside)
    if not known.any():
        return float("nan")
    values = inside[known] - inside[known].mean()
    moment = np.unique(time[known], return_inverse=True)[1]
    sums = np.bincount(moment, values)
    variance = float(sums @ sums)
    for lag in range(1, min(horizon, len(sums))):
        variance += 2 * (1 - lag / horizon) * float(sums[lag:] @ sums[:-lag])
    return float(np.sqrt(max(variance, float(sums @ sums)))) / len(values)
