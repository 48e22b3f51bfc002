"""What an error is measured against: the size of a series' own seasonal changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import targets


def training_rows(panel: Panel, train_end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of every row whether it belongs to training, [N]: the first `train_end` [S] rows of each series do."""
    return row_numbers(panel) < np.repeat(train_end, panel.lengths)


def row_numbers(panel: Panel) -> NDArray[np.int64]:
    """Give the number of every row within its series, [N]."""
    return np.arange(panel.num_rows) - np.repeat(panel.indptr[:-1], panel.lengths)


def seasonal_differences(panel: Panel, train_end: NDArray[np.int64], lag: int) -> NDArray[np.float64]:
    """Give y[t] - y[t - lag] of every training row, [N, Y]; NaN where either value is missing or not there."""
    values = targets(panel)
    differences = np.full_like(values, np.nan)
    differences[lag:] = values[lag:] - values[:-lag]
    differences[(row_numbers(panel) < lag) | ~training_rows(panel, train_end)] = np.nan
    return differences


def seasonal_error(panel: Panel, train_end: NDArray[np.int64], season: int) -> NDArray[np.float64]:
    """Give each series' mean absolute seasonal difference over training, the divisor of MASE: [S, Y].

    mean over t < train_end of abs(y[t] - y[t - season]), pairs with a missing value left out; NaN where a series
    has no such pair. Hyndman and Koehler (2006) with the seasonal form of the M4 competition.
    """
    return mean_by_series(np.abs(seasonal_differences(panel, train_end, season)), panel)


def seasonal_square(panel: Panel, train_end: NDArray[np.int64], season: int) -> NDArray[np.float64]:
    """Give each series' mean squared seasonal difference over training, the divisor of RMSSE: [S, Y].

    As :func:`seasonal_error`, with squares for absolute values: the M5 competition's, in a seasonal form.
    """
    return mean_by_series(seasonal_differences(panel, train_end, season) ** 2, panel)


def mean_by_series(values: NDArray[np.float64], panel: Panel) -> NDArray[np.float64]:
    """Give the mean of each series' rows, [N, Y] to [S, Y]; NaN is left out, a series with nothing else gets NaN."""
    series = np.repeat(np.arange(panel.num_series), panel.lengths)
    means = np.full((panel.num_series, values.shape[1]), np.nan)
    for y in range(values.shape[1]):
        present = ~np.isnan(values[:, y])
        sums = np.bincount(series[present], values[present, y], minlength=panel.num_series)
        counts = np.bincount(series[present], minlength=panel.num_series)
        np.divide(sums, counts, out=means[:, y], where=counts > 0)
    return means
