"""Panel: the checked rows of all series, end to end, as flat arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusecast.data.clock import Clock
from fusecast.schema import Schema


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Validated rows of every series: sorted, one row a step, gaps filled with missing values.

    Values are as in the table, never scaled. A missing real is NaN, a missing category is -1.
    """

    schema: Schema
    clock: Clock
    ids: NDArray[np.generic]  # [S] names of the series, of the table's own type
    indptr: NDArray[np.int64]  # [S + 1]: series s owns rows indptr[s] to indptr[s + 1]
    start: NDArray[np.int64]  # [S] time of each series' first row, in the clock's own ticks
    reals: Mapping[str, NDArray[np.float64]]  # targets, observed and known reals: [N]
    categories: Mapping[str, NDArray[np.int32]]  # observed and known categories: codes into levels, [N]
    static_reals: Mapping[str, NDArray[np.float64]]  # [S]
    static_categories: Mapping[str, NDArray[np.int32]]  # codes into levels, [S]
    levels: Mapping[str, tuple[str, ...]]  # the distinct values of each category, as text

    @property
    def num_series(self) -> int:
        """Number of series, S."""
        return len(self.ids)

    @property
    def num_rows(self) -> int:
        """Number of rows, N, those of filled gaps included."""
        return int(self.indptr[-1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each series, [S]."""
        return np.diff(self.indptr)
