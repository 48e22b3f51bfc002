"""Attention by lag: which steps before the cutoff the network looks back to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusecast.batch import Batch, Output
from fusecast.explain.distribution import EXACT_VALUES, Distribution
from fusecast.explain.store import attention_of


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
