"""Diebold-Mariano test, and standard errors of shares that are counted over autocorrelated steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.metrics import central_intervals
from fusecast.inference.forecasts import Forecasts


@dataclass(frozen=True, kw_only=True)
class DieboldMariano:
    """Result of the test that two forecasts are equally good."""

    statistic: float  # below 0 where the first forecast has the smaller losses; NaN where the test cannot be made
    p_value: float  # two-sided: how often so large a difference would come up if both were equally good
    difference: float  # mean loss of the first minus mean loss of the second
    count: int  # pairs of losses compared


def diebold_mariano(first: ArrayLike, second: ArrayLike, overlap: int = 1) -> DieboldMariano:
    """Test whether two series of losses differ, with the small-sample correction of Harvey, Leybourne, Newbold (1997).

    With d the differences, n of them, and h = `overlap`: the variance of their mean is
    (g_0 + 2 * sum(g_k, k < h)) / n, g_k the autocovariances; the statistic mean(d) / sqrt(variance) is multiplied by
    sqrt((n + 1 - 2h + h(h - 1)/n) / n) and compared with Student's t with n - 1 degrees of freedom. Where the sum is
    not positive, which can happen, the autocovariances are weighted by 1 - k/h (Bartlett).

    The losses [n] are those at the same origins in order of time; pairs with a NaN are left out. `overlap` is how many
    consecutive origins share steps that they forecast: h for h steps ahead from every origin.
    """
    from scipy.stats import t as student

    d = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    d = d[np.isfinite(d)]
    n = len(d)
    overlap = max(1, min(overlap, n // 2))
    mean = float(d.mean()) if n else math.nan
    undefined = DieboldMariano(statistic=math.nan, p_value=math.nan, difference=mean, count=n)
    if n < 3:
        return undefined
    centred = d - mean
    covariance = np.array([centred[: n - k] @ centred[k:] for k in range(overlap)]) / n
    variance = covariance[0] + 2 * covariance[1:].sum()
    if variance <= 0:
        variance = covariance[0] + 2 * ((1 - np.arange(1, overlap) / overlap) * covariance[1:]).sum()
    if variance <= 1e-14 * max(mean**2, 1e-300):
        return undefined
    correction = (n + 1 - 2 * overlap + overlap * (overlap - 1) / n) / n
    statistic = mean / math.sqrt(variance / n) * math.sqrt(correction)
    p_value = 2 * float(student.sf(abs(statistic), n - 1))
    return DieboldMariano(statistic=float(statistic), p_value=p_value, difference=mean, count=n)


def standard_error(values: FloatArray, time: IntArray, horizon: int) -> float:
    """Return the standard error of a mean over forecast steps, where a shock affects all series and persists.

    The values of each moment are one observation, and observations up to a horizon apart are taken to be correlated
    (Newey, West 1987; Bartlett weights up to `horizon` moments). It is an estimate itself, and too small where the
    moments are few. `values` [n] are those of each forecast step, such as 1 where the actual lay inside an interval and
    0 elsewhere; NaN is left out. `time` [n] is the moment of each step, any rising numbers.
    """
    known = ~np.isnan(values)
    if not known.any():
        return math.nan
    centred = values[known] - values[known].mean()
    moment = np.unique(time[known], return_inverse=True)[1]
    sums = np.bincount(moment, centred)
    variance = float(sums @ sums)
    for lag in range(1, min(horizon, len(sums))):
        variance += 2 * (1 - lag / horizon) * float(sums[lag:] @ sums[:-lag])
    return float(np.sqrt(max(variance, float(sums @ sums)))) / len(centred)


def coverage_standard_errors(panel: Panel, forecasts: Forecasts) -> list[dict[float, float]]:
    """Return, for each target, the standard error of the coverage of each central interval, by its nominal share."""
    actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon)
    rows = forecasts.cutoff[:, None] + np.arange(forecasts.horizon)
    time = panel.times_at(np.repeat(forecasts.series, forecasts.horizon), rows.ravel()).to_physical().to_numpy()
    errors: list[dict[float, float]] = [{} for _ in panel.schema.targets]
    for share, (low, high) in central_intervals(forecasts.levels).items():
        covered = (actual >= forecasts.quantiles[..., low]) & (actual <= forecasts.quantiles[..., high])
        inside = np.where(np.isnan(actual), np.nan, covered)
        for y, target_errors in enumerate(errors):
            target_errors[share] = standard_error(inside[..., y].ravel(), time, forecasts.horizon)
    return errors
