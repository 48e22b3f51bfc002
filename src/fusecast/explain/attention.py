"""Attention by lag: which steps before the cutoff the network attends to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusecast.explain.importance import steps_present, to_numpy
from fusecast.explain.streaming_percentiles import EXACT_VALUES, Distribution
from fusecast.model.batch import Batch, Output

IN_MEMORY = 256_000_000  # bytes
BLOCK = 4_000_000  # values looked at once, 32 MB in float64


class AttentionStore:
    """Attention [W, H, T] of W windows in float32, NaN at masked positions.

    Beyond 256 MB the values lie in a scratch file that vanishes with the store; memory then stays the same however
    many windows there are.
    """

    def __init__(self, windows: int, lookback: int, horizon: int, in_memory: int = IN_MEMORY) -> None:
        self.lookback, self.horizon = lookback, horizon
        shape = (windows, horizon, lookback + horizon)
        self.in_memory = 4 * int(np.prod(shape)) <= in_memory
        self._values: NDArray[np.float32]
        if self.in_memory:
            self._values = np.full(shape, np.nan, dtype=np.float32)
        else:
            with tempfile.TemporaryFile() as file:  # unlinked at once; the mapping keeps it
                self._values = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)

    def __len__(self) -> int:
        return len(self._values)

    def put(self, numbers: NDArray[np.int64], batch: Batch, output: Output) -> None:
        """Keep the windows of a batch under their numbers."""
        self._values[numbers] = attention_of(batch, output, self.lookback)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Give windows `begin` to `end` piece by piece: which they are, and their attention [B, H, T]."""
        end = len(self) if end is None else end
        size = max(1, BLOCK // max(1, int(np.prod(self._values.shape[1:]))))
        for first in range(begin, end, size):
            part = slice(first, min(first + size, end))
            yield part, self._values[part].astype(np.float64)


def attention_of(batch: Batch, output: Output, lookback: int) -> NDArray[np.float64]:
    """Give the attention of a batch, [B, H, T], NaN at masked positions of the past."""
    attention = to_numpy(output.attention).copy()
    past = attention[:, :, :lookback]
    past[~np.broadcast_to(steps_present(batch, past[:, 0])[:, None], past.shape)] = np.nan
    return attention


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionProfile:
    """Attention to each position of a window, over many windows.

    A position counts steps from the first step forecast: -1 is the last known step, -24 lies 24 steps before the
    first one forecast. The percentiles are over the windows in which the position is not masked; NaN where it always
    is.
    """

    position: NDArray[np.int64]  # [T], -L to H - 1
    mean: NDArray[np.float64]  # [T]
    p10: NDArray[np.float64]  # [T]
    p50: NDArray[np.float64]  # [T]
    p90: NDArray[np.float64]  # [T]

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a position, plain values."""
        names = ("position", "mean", "p10", "p50", "p90")
        return [
            dict(zip(names, row, strict=True)) for row in zip(*(getattr(self, n).tolist() for n in names), strict=True)
        ]

    def top_lags(self, count: int = 3) -> list[tuple[int, float]]:
        """Give the past positions looked at most, each a peak among its neighbours, with their mean attention."""
        past = np.nan_to_num(self.mean[self.position < 0], nan=-1.0)
        around = np.concatenate(([-1.0], past, [-1.0]))
        peaks = np.nonzero((past > 0) & (past >= around[:-2]) & (past > around[2:]))[0]
        best = peaks[np.argsort(-past[peaks], kind="stable")][:count]
        return [(int(self.position[p]), float(past[p])) for p in best]


class AttentionTally:
    """Gathers attention batch by batch; memory grows with L and H, not with the windows."""

    def __init__(self, lookback: int, horizon: int, exact_values: int = EXACT_VALUES) -> None:
        self._lookback = lookback
        self._horizon = horizon
        steps = lookback + horizon
        self._overall = Distribution(steps, exact_values)
        self._by_step = Distribution(horizon * steps, exact_values)

    def add(self, batch: Batch, output: Output) -> None:
        """Count in the windows of a batch. Masked positions do not count; see :class:`AttentionProfile`."""
        attention = attention_of(batch, output, self._lookback)
        self._overall.add(attention.mean(axis=1))
        self._by_step.add(attention.reshape(len(attention), -1))

    def profile(self) -> AttentionProfile:
        """Attention averaged over the steps ahead, window by window, then gathered over windows.

        A step ahead gives none to the steps after it, and that counts as 0 here.
        """
        return self._profile(self._overall.mean(), self._overall.percentiles((10, 50, 90)))

    def profile_of_step(self, step: int) -> AttentionProfile:
        """Attention of one step ahead, 0 to H - 1, gathered over windows."""
        return self.profiles_by_step()[step]

    def profiles_by_step(self) -> list[AttentionProfile]:
        """Attention of each step ahead, gathered over windows: H profiles."""
        shape = (self._horizon, self._lookback + self._horizon)
        mean = self._by_step.mean().reshape(shape)
        percentiles = self._by_step.percentiles((10, 50, 90)).reshape(3, *shape)
        return [self._profile(mean[h], percentiles[:, h]) for h in range(self._horizon)]

    def _profile(self, mean: NDArray[np.float64], percentiles: NDArray[np.float64]) -> AttentionProfile:
        low, middle, high = percentiles
        position = np.arange(-self._lookback, self._horizon)
        return AttentionProfile(position=position, mean=mean, p10=low, p50=middle, p90=high)
