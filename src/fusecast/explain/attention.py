"""Attention of many windows: kept window by window, and summarised by position."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.explain.importance import PERCENTS, present_steps, to_numpy
from fusecast.explain.streaming_percentiles import EXACT_VALUES, StreamingPercentiles
from fusecast.model.batch import Batch, Output

MAX_BYTES_IN_MEMORY = 256_000_000
VALUES_PER_BLOCK = 4_000_000  # 32 MB in float64


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionProfile:
    """Attention to each position of a window, over many windows.

    A position counts steps from the first step forecast: -1 is the last known step, 0 the first one forecast. The
    percentiles are over the windows in which the position is not masked; NaN where it always is.
    """

    position: IntArray  # [T], -L to H - 1
    mean: FloatArray  # [T]
    p10: FloatArray  # [T]
    p50: FloatArray  # [T]
    p90: FloatArray  # [T]

    def to_frame(self) -> pl.DataFrame:
        """Return one row a position: position, mean, p10, p50, p90; null where NaN."""
        return pl.DataFrame(vars(self), nan_to_null=True)

    def top_lags(self, count: int = 3) -> list[tuple[int, float]]:
        """Return the past positions of the highest mean attention, each a peak among its neighbours, with that mean."""
        past = np.nan_to_num(self.mean[self.position < 0], nan=-1.0)
        padded = np.concatenate(([-1.0], past, [-1.0]))
        peaks = np.nonzero((past > 0) & (past >= padded[:-2]) & (past > padded[2:]))[0]
        best = peaks[np.argsort(-past[peaks], kind="stable")][:count]
        return [(int(self.position[p]), float(past[p])) for p in best]


class AttentionTally:
    """Accumulates attention batch by batch; memory grows with L and H, not with the windows."""

    def __init__(self, lookback: int, horizon: int, exact_values: int = EXACT_VALUES) -> None:
        self._lookback, self._horizon = lookback, horizon
        self._overall = StreamingPercentiles(lookback + horizon, exact_values)
        self._by_step = StreamingPercentiles(horizon * (lookback + horizon), exact_values)

    def add(self, batch: Batch, output: Output) -> None:
        """Add the windows of a batch. Masked positions do not count; see :class:`AttentionProfile`."""
        attention = masked_attention(batch, output, self._lookback)
        self._overall.add(attention.mean(axis=1))
        self._by_step.add(attention.reshape(len(attention), -1))

    def profile(self) -> AttentionProfile:
        """Return attention averaged over the steps ahead, window by window, then summarised over windows.

        A step ahead has no attention to the steps after it, and that counts as 0 here.
        """
        return self._profile(self._overall.mean(), self._overall.percentiles(PERCENTS))

    def profiles_by_step(self) -> list[AttentionProfile]:
        """Return the attention of each step ahead, summarised over windows: H profiles."""
        shape = (self._horizon, self._lookback + self._horizon)
        mean = self._by_step.mean().reshape(shape)
        percentiles = self._by_step.percentiles(PERCENTS).reshape(3, *shape)
        return [self._profile(mean[h], percentiles[:, h]) for h in range(self._horizon)]

    def _profile(self, mean: FloatArray, percentiles: FloatArray) -> AttentionProfile:
        columns = dict(zip(("p10", "p50", "p90"), percentiles, strict=True))
        return AttentionProfile(position=np.arange(-self._lookback, self._horizon), mean=mean, **columns)


class AttentionStore:
    """Attention [W, H, T] of W windows in float32, NaN at masked positions.

    Beyond 256 MB the values lie in a scratch file that is removed with the store: memory does not grow with W.
    """

    def __init__(self, windows: int, lookback: int, horizon: int, max_bytes: int = MAX_BYTES_IN_MEMORY) -> None:
        self.lookback, self.horizon = lookback, horizon
        shape = (windows, horizon, lookback + horizon)
        self.in_memory = 4 * math.prod(shape) <= max_bytes
        self._values: NDArray[np.float32]
        if self.in_memory:
            self._values = np.full(shape, np.nan, dtype=np.float32)
        else:
            with tempfile.TemporaryFile() as file:  # unlinked at once; the mapping keeps it
                self._values = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)

    def __len__(self) -> int:
        return len(self._values)

    def put(self, windows: IntArray, batch: Batch, output: Output) -> None:
        """Store the attention of the windows of a batch, numbered as in their index."""
        self._values[windows] = masked_attention(batch, output, self.lookback)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[slice, FloatArray]]:
        """Yield windows `begin` to `end` block by block: their slice, and their attention [B, H, T]."""
        end = len(self) if end is None else end
        size = max(1, VALUES_PER_BLOCK // max(1, math.prod(self._values.shape[1:])))
        for first in range(begin, end, size):
            block = slice(first, min(first + size, end))
            yield block, self._values[block].astype(np.float64)


def masked_attention(batch: Batch, output: Output, lookback: int) -> FloatArray:
    """Return the attention of a batch, [B, H, T], NaN at masked positions of the past."""
    attention = to_numpy(output.attention).copy()
    past = attention[:, :, :lookback]
    past[~np.broadcast_to(present_steps(batch, past[:, 0])[:, None], past.shape)] = np.nan
    return attention
