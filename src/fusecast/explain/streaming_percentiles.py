"""Mean and percentiles of any number of shares in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray, IntArray

BINS = 512
EXACT_VALUES = 2_000_000  # 16 MB


class StreamingPercentiles:
    """Means and percentiles of `columns` quantities in [0, 1], each over any number of samples.

    Up to `exact_values` values (samples x columns) are held in memory, and percentiles are those of NumPy. From then
    on each column is a histogram of 512 bins whose edges are the cubes of an even grid, because attention over
    hundreds of steps consists of small numbers: a percentile is then off by at most the width of its bin, 3 / 512 at
    1, 0.0002 at 0.005. Means are exact either way.
    """

    def __init__(self, columns: int, exact_values: int = EXACT_VALUES) -> None:
        self._columns = columns
        self._free_values = exact_values
        self._blocks: list[FloatArray] = []
        self._histogram: IntArray | None = None
        self._sum = np.zeros(columns)
        self._count = np.zeros(columns, dtype=np.int64)

    @property
    def count(self) -> IntArray:
        """Samples of each column so far, [columns]."""
        return self._count.copy()

    def add(self, samples: NDArray[np.floating]) -> None:
        """Add samples [n, columns]; NaN is no sample."""
        values = np.asarray(samples, dtype=np.float64)
        present = ~np.isnan(values)
        self._sum += np.where(present, values, 0.0).sum(axis=0)
        self._count += present.sum(axis=0)
        if self._histogram is not None:
            self._histogram += self._bin_counts(values)
            return
        self._blocks.append(values)
        self._free_values -= values.size
        if self._free_values < 0:
            self._histogram = np.zeros((self._columns, BINS), dtype=np.int64)
            for block in self._blocks:
                self._histogram += self._bin_counts(block)
            self._blocks = []

    def mean(self) -> FloatArray:
        """Return the mean of each column, [columns]; NaN without samples."""
        means = np.full(self._columns, np.nan)
        np.divide(self._sum, self._count, out=means, where=self._count > 0)
        return means

    def percentiles(self, percents: Sequence[float] = (10, 50, 90)) -> FloatArray:
        """Return percentiles of each column, [len(percents), columns]; NaN without samples."""
        result = np.full((len(percents), self._columns), np.nan)
        filled = self._count > 0
        if self._histogram is not None:
            result[:, filled] = self._histogram_percentiles(self._histogram, np.asarray(percents) / 100)[:, filled]
        elif filled.any():
            result[:, filled] = np.nanpercentile(np.concatenate(self._blocks)[:, filled], percents, axis=0)
        return result

    def _bin_counts(self, values: FloatArray) -> IntArray:
        present = ~np.isnan(values)
        bins = np.minimum(np.cbrt(np.clip(values[present], 0.0, 1.0)) * BINS, BINS - 1).astype(np.int64)
        column = np.nonzero(present)[1]
        counts = np.bincount(column * BINS + bins, minlength=self._columns * BINS)
        return counts.reshape(self._columns, BINS)

    def _histogram_percentiles(self, histogram: IntArray, shares: FloatArray) -> FloatArray:
        edges = (np.arange(BINS + 1) / BINS) ** 3
        below = np.concatenate([np.zeros((self._columns, 1)), histogram.cumsum(axis=1)], axis=1)
        result = np.empty((len(shares), self._columns))
        for i, share in enumerate(shares):
            # the rank at which NumPy interpolates, spread evenly within its bin
            rank = share * np.maximum(self._count - 1, 0) + 0.5
            bins = np.clip((below <= rank[:, None]).sum(axis=1) - 1, 0, BINS - 1)
            start = np.take_along_axis(below, bins[:, None], axis=1)[:, 0]
            inside = np.take_along_axis(histogram, bins[:, None], axis=1)[:, 0]
            fraction = np.clip((rank - start) / np.maximum(inside, 1), 0, 1)
            result[i] = edges[bins] + fraction * (edges[bins + 1] - edges[bins])
        return result
