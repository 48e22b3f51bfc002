"""WindowIndex: which windows there are, by arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowIndex:
    """All (series, cutoff) pairs of a panel between two bounds a series; memory grows with series, not with windows.

    A cutoff is the number of a series' rows that are known: the first step to forecast is row ``cutoff`` of the
    series, the lookback is the rows ``cutoff - lookback`` to ``cutoff - 1`` (rows before the first are padding).
    """

    lookback: int
    horizon: int
    first_cutoff: NDArray[np.int64]  # [S]
    last_cutoff: NDArray[np.int64]  # [S], included; below first_cutoff where a series has no window
    stride: int = 1

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Windows before each series, [S + 1]."""
        counts = np.maximum(0, (self.last_cutoff - self.first_cutoff) // self.stride + 1)
        return np.concatenate(([0], np.cumsum(counts)))

    def locate(self, windows: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the series and the cutoff of each numbered window, two arrays [W]."""
        number = np.asarray(windows, dtype=np.int64)
        offsets = self.offsets
        series = np.searchsorted(offsets, number, side="right") - 1
        return series, self.first_cutoff[series] + (number - offsets[series]) * self.stride
