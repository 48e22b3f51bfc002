"""What really happened: the targets of a panel, laid out like forecasts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel


def targets(panel: Panel) -> NDArray[np.float64]:
    """Give the targets of every row, [N, Y], NaN where missing."""
    return np.stack([panel.reals[name] for name in panel.schema.targets], axis=1)


def actuals(
    panel: Panel,
    series: NDArray[np.int64],
    cutoff: NDArray[np.int64],
    horizon: int,
    values: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Give the targets of the `horizon` rows from each cutoff on, [W, H, Y].

    NaN where the value is missing or the series has ended. `series` and `cutoff` are [W], as in ``Forecasts``;
    `values` are the panel's targets [N, Y] where the caller has them already.
    """
    values = targets(panel) if values is None else values
    row = cutoff[:, None] + np.arange(horizon)
    return take(values, panel, series, row)


def take(
    values: NDArray[np.float64], panel: Panel, series: NDArray[np.int64], row: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give the values [N, Y] at row numbers [W, H] within the series [W]; NaN at rows that a series does not have."""
    if len(values) == 0:
        return np.full((*row.shape, values.shape[1]), np.nan)
    exists = (row >= 0) & (row < panel.lengths[series][:, None])
    flat = np.where(exists, panel.indptr[series][:, None] + row, 0)
    return np.where(exists[..., None], values[flat], np.nan)
