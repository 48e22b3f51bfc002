"""Actual values of the targets: of all rows, at the steps of forecasts, and as seasonal changes, which scale errors."""

from __future__ import annotations

import numpy as np

from fusecast.data.arrays import BoolArray, FloatArray, IntArray, empty, release, row_blocks, take_windows
from fusecast.data.panel import Panel


def stack_targets(panel: Panel) -> FloatArray:
    """Return the targets of every row, [N, Y], NaN where missing; not to be written to."""
    columns = [panel.reals[name] for name in panel.schema.targets]
    if len(columns) == 1:
        return columns[0][:, None]
    values = empty((panel.num_rows, len(columns)), np.float64, columns[0])
    for rows in row_blocks(panel.num_rows):
        for y, column in enumerate(columns):
            values[rows, y] = column[rows]
        release(values, *columns)
    return values


def gather_actuals(
    panel: Panel, series: IntArray, cutoff: IntArray, horizon: int, values: FloatArray | None = None
) -> FloatArray:
    """Return the targets of the `horizon` rows from each cutoff on, [W, H, Y].

    NaN where the value is missing or the series has ended. `series` and `cutoff` are [W], as in ``Forecasts``;
    `values` are the panel's targets [N, Y] where the caller has them already.
    """
    values = stack_targets(panel) if values is None else values
    return gather_rows(values, panel, series, cutoff[:, None] + np.arange(horizon))


def gather_rows(values: FloatArray, panel: Panel, series: IntArray, rows: IntArray) -> FloatArray:
    """Return the values [W, H, Y] of rows [W, H] of the series [W], from the values [N, Y] of all rows.

    Rows are counted within the series; those that a series does not have are NaN.
    """
    if len(values) == 0:
        return np.full((*rows.shape, values.shape[1]), np.nan)
    exists = (rows >= 0) & (rows < panel.lengths[series][:, None])
    flat = np.where(exists, panel.indptr[series][:, None] + rows, 0)
    return np.where(exists[..., None], take_windows(values, flat), np.nan)


def carry_forward(values: FloatArray, panel: Panel) -> FloatArray:
    """Return the last known value at or before every row of each series, [N, Y]; NaN where there is none."""
    flat = np.arange(len(values))
    first = flat - panel.row_in_series
    latest = np.maximum.accumulate(np.where(np.isnan(values), -1, flat[:, None]), axis=0)
    known = latest >= first[:, None]
    return np.where(known, np.take_along_axis(values, np.maximum(latest, 0), axis=0), np.nan)


def is_training_row(panel: Panel, train_end: IntArray) -> BoolArray:
    """Return whether each row belongs to training, [N]: the first `train_end` [S] rows of each series do."""
    return panel.row_in_series < np.repeat(train_end, panel.lengths)


def seasonal_differences(panel: Panel, train_end: IntArray, lag: int) -> FloatArray:
    """Return y[t] - y[t - lag] of every training row, [N, Y]; NaN where one of the two is missing or outside."""
    values = stack_targets(panel)
    differences = np.full_like(values, np.nan)
    differences[lag:] = values[lag:] - values[:-lag]
    differences[(panel.row_in_series < lag) | ~is_training_row(panel, train_end)] = np.nan
    return differences


def seasonal_error(panel: Panel, train_end: IntArray, season: int, *, power: int = 1) -> FloatArray:
    """Return each series' mean absolute seasonal difference over training, the divisor of MASE: [S, Y].

    mean over t < train_end of abs(y[t] - y[t - season]) ** power, pairs with a missing value left out; NaN where a
    series has no such pair. Hyndman and Koehler (2006) with the seasonal form of the M4 competition. With a power of 2
    it is the divisor of RMSSE: the M5 competition's, in a seasonal form.
    """
    means = np.full((panel.num_series, len(panel.schema.targets)), np.nan)
    for part, block in panel.blocks():
        differences = np.abs(seasonal_differences(block, train_end[part], season)) ** power
        for y in range(differences.shape[1]):
            present = ~np.isnan(differences[:, y])
            series = block.series_of_row[present]
            sums = np.bincount(series, differences[present, y], minlength=block.num_series)
            counts = np.bincount(series, minlength=block.num_series)
            np.divide(sums, counts, out=means[part, y], where=counts > 0)
    return means
