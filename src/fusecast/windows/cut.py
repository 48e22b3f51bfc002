"""Cut: the rows of windows, out of any array of a panel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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

    @classmethod
    def of_runs(cls, first: NDArray[np.int64], length: int, inside: Tensor | None, num_rows: int) -> Cut:
        """Choose the faster way on a CPU: by runs, but for such as reach over an end of the array itself."""
        if inside is not None and (first.min() < 0 or first.max() + length > num_rows):
            rows = (first[:, None] + np.arange(length)).clip(0, num_rows - 1)  # beyond an end, any row will do
            return cls(torch.from_numpy(rows.ravel()), length, inside, by_row=True)
        return cls(torch.from_numpy(first), length, inside, by_row=False)

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
