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
    differences = np.abs(seasonal_differences(panel, train_end, season))
    series = np.repeat(np.arange(panel.num_series), panel.lengths)
    errors = np.full((panel.num_series, differences.shape[1]), np.nan)
    for y in range(differences.shape[1]):
        present = ~np.isnan(differences[:, y])
        sums = np.bincount(series[present], differences[present, y], minlength=panel.num_series)
        counts = np.bincount(series[present], minlength=panel.num_series)
        np.divide(sums, counts, out=errors[:, y], where=counts > 0)
    return errors
