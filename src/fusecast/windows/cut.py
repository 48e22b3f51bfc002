"""Cut: the rows of windows, out of any array of a panel."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.windows.index import WindowIndex


class Runs(NamedTuple):
    """Where windows lie: for each a run of rows, int64 [B]; on the host."""

    series: NDArray[np.int64]
    first: NDArray[np.int64]  # row of the panel with which the window begins, be it the series' own or not
    begin: NDArray[np.int64]  # rows of the panel that are the series' own: from here
    end: NDArray[np.int64]  # to before here

    @classmethod
    def of(cls, number: NDArray[np.int64], index: WindowIndex, indptr: NDArray[np.int64]) -> Self:
        """Find the windows of these numbers."""
        series, cutoff = index.locate(number)
        begin, end = indptr[series], indptr[series + 1]
        return cls(series, begin + cutoff - index.lookback, begin, end)

    def all_inside(self, start: int, stop: int) -> bool:
        """Whether the steps [start, stop) of all windows are the series' own rows."""
        return not bool(((self.first + start < self.begin) | (self.first + stop > self.end)).any())

    def inside(self, length: int) -> Tensor | None:
        """Which of the rows [B, T] are the series' own; None for all."""
        if self.all_inside(0, length):
            return None
        rows = self.first[:, None] + np.arange(length)
        return torch.from_numpy((rows >= self.begin[:, None]) & (rows < self.end[:, None]))

    def cut(self, length: int, inside: Tensor | None, num_rows: int) -> Cut:
        """Make the cut that is faster on a CPU: by runs, but for such as reach over an end of the array itself."""
        if inside is not None and (self.first.min() < 0 or self.first.max() + length > num_rows):
            rows = (self.first[:, None] + np.arange(length)).clip(0, num_rows - 1)  # beyond an end, any row will do
            return Cut(torch.from_numpy(rows.ravel()), length, inside, by_row=True)
        return Cut(torch.from_numpy(self.first), length, inside, by_row=False)


class Cut:
    """Copies runs of rows out of arrays [N, V], and clears what is not the series' own.

    Parameters
    ----------
    first
        int64 [B]: the first row of each run; or each row of each, [B * T], by which it is cut then.
    length
        Rows of a run, T.
    inside
        bool [B, T]: what to leave; None for everything.
    """

    def __init__(self, first: Tensor, length: int, inside: Tensor | None, *, by_row: bool) -> None:
        self.first, self.length, self.by_row = first, length, by_row
        self.outside = None if inside is None else ~inside[:, :, None]

    def __call__(self, array: Tensor) -> Tensor:
        """Copy rows: ``[N, V] -> [B, T, V]``."""
        T, (N, V) = self.length, array.shape
        B = len(self.first) // T if self.by_row else len(self.first)
        if not V:
            return array.new_empty((B, T, 0))
        if self.by_row:
            cut = array.index_select(0, self.first)
        else:
            cut = array.as_strided((N - T + 1, T * V), (V, 1)).index_select(0, self.first)
        cut = cut.view(B, T, V)
        return cut if self.outside is None else cut.masked_fill_(self.outside, 0)
