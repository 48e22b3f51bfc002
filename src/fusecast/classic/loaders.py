"""make_dataloaders: a table in, three loaders of (x, y) out, and no row that is a target in two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.classic.table import BLOCK, Table, read_rows
from fusecast.classic.windows import StepDataset, StepLoader, step_loader
from fusecast.errors import ConfigError, DataError

SMALLEST_SCALE = 1e-8


def make_dataloaders(
    data: Any,
    window_size: int,
    batch_size: int,
    *,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 42,
) -> tuple[StepLoader, StepLoader, StepLoader]:
    """Make DataLoaders of ``x float32 [B, window_size, F]`` and ``y float32 [B, F]``, the step after the window.

    Parameters
    ----------
    data
        A DataFrame (pandas, polars, Arrow), the path of a table, a 2-D array or tensor; every column is a feature, save
        ``seq_ix`` or ``unique_id`` (windows never cross from one sequence into the next), ``step_in_seq`` or ``ds``
        (the order of a sequence's rows; where counted steps are left out, no window bridges the gap), and
        ``need_prediction`` (only rows where it is true are ever a ``y``; the others are history alone).
    window_size, batch_size
        Steps of history; windows a batch.
    validation, test
        Shares of the windows that are kept from training. Where ``seq_ix`` names three sequences or more, whole
        sequences are kept, the last ones; otherwise the last steps: everything to be forecast for validation lies
        after everything learnt from, in all sequences, and the test after that.
    seed
        Of the order of training windows, which differs from epoch to epoch.

    Returns
    -------
    Loaders to train (shuffled), validate and test (in order). Values are those of the data, unscaled; the rows are
    held once, as they were given where that is a float32 array.

    Raises
    ------
    DataError
        See :func:`~fusecast.classic.table.read_rows`; and if the windows do not suffice for three parts.
    ConfigError
        If a size or a share is out of its range.
    """
    for name, size in (("window_size", window_size), ("batch_size", batch_size)):
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise ConfigError.out_of_range(name, repr(size), "1, 2, ...")
        if size < 1:
            raise ConfigError.not_positive(name, size)
    for name, share in (("validation", validation), ("test", test), ("validation and test", validation + test)):
        if not 0.0 < share < 1.0:
            raise ConfigError.out_of_range(name, share, "(0, 1)")
    table = read_rows(data)
    targets = _targets(table, window_size)
    bounds = _bounds(table.moment[targets], validation, test)
    if bounds is None:
        needed = -1 if table.needed is None else int(table.needed.sum())
        raise DataError.windows_do_not_fit(window_size, int(np.bincount(table.run).max()), needed)
    center, scale = _statistics(table, bounds[0])
    moment = table.moment[targets]
    parts = (moment < bounds[0], (moment >= bounds[0]) & (moment < bounds[1]), moment >= bounds[1])
    train, valid, tested = (
        StepDataset(table.values, targets[part], window_size, names=table.names, center=center, scale=scale)
        for part in parts
    )
    return (
        step_loader(train, batch_size, shuffle=True, seed=seed),
        step_loader(valid, batch_size),
        step_loader(tested, batch_size),
    )


def _targets(table: Table, window_size: int) -> NDArray[np.int64]:
    """Rows that have a whole window before them in their run, and are to be forecast."""
    inside = table.run[window_size:] == table.run[:-window_size]
    if table.needed is not None:
        inside &= table.needed[window_size:]
    return np.flatnonzero(inside) + window_size


def _bounds(moments: NDArray[np.int64], validation: float, test: float) -> tuple[int, int] | None:
    """Moments at which validation and test begin; None where there are not three different ones."""
    distinct, counts = np.unique(moments, return_counts=True)
    if len(distinct) < 3:
        return None
    before = np.cumsum(counts) - counts  # windows before each moment
    total = len(moments)
    first = int(np.clip(np.searchsorted(before, (1 - validation - test) * total - 0.5), 1, len(distinct) - 2))
    second = int(np.clip(np.searchsorted(before, (1 - test) * total - 0.5), first + 1, len(distinct) - 1))
    return int(distinct[first]), int(distinct[second])


def _statistics(table: Table, end: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [F] of the rows before validation, and of no other."""
    count, total, squares = 0, np.zeros(len(table.names)), np.zeros(len(table.names))
    shift = table.values[int(np.argmax(table.moment < end))].astype(np.float64)  # keeps the squares small
    for begin in range(0, len(table.values), BLOCK):
        seen = table.moment[begin : begin + BLOCK] < end
        rows = table.values[begin : begin + BLOCK][seen].astype(np.float64) - shift
        count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    deviation[deviation < SMALLEST_SCALE] = 1.0  # a constant feature
    return torch.tensor(mean + shift, dtype=torch.float32), torch.tensor(deviation, dtype=torch.float32)
