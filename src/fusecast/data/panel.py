"""Panel: the checked rows of all series, end to end, as flat arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from fusecast.data.arrays import IntArray
from fusecast.data.schema import Schema
from fusecast.data.time_grid import TimeGrid


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Validated rows of every series: sorted, one row a step, gaps filled with missing values.

    Values are as in the table, never scaled. A missing real is NaN, a missing category is -1.
    """

    schema: Schema
    clock: TimeGrid
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

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of the series as text, [S]."""
        return tuple(str(name) for name in self.ids.tolist())

    @property
    def series_of_row(self) -> IntArray:
        """Return the number of the series that owns each row, [N]."""
        return np.repeat(np.arange(self.num_series), self.lengths)

    @property
    def row_in_series(self) -> IntArray:
        """Return the position of each row within its series, [N]."""
        return np.arange(self.num_rows) - np.repeat(self.indptr[:-1], self.lengths)

    def times(self) -> pl.Series:
        """Return the time of every row, [N], of the table's own type."""
        return self.times_of(self.series_of_row, self.row_in_series)

    def times_of(self, series: ArrayLike, rows: ArrayLike) -> pl.Series:
        """Time of rows of series, elementwise; rows may lie beyond the end of a series."""
        start = self.start[np.asarray(series, dtype=np.int64)]
        return self.clock.times(self.clock.advance(start, np.asarray(rows, dtype=np.int64)))

    def select(self, series: ArrayLike) -> Self:
        """Give the panel of some series, by their numbers, in the order given."""
        numbers = np.asarray(series, dtype=np.int64)
        return self._take(numbers, self.lengths[numbers])

    def truncate(self, lengths: ArrayLike) -> Self:
        """Give the panel of the first rows of each series, `lengths` [S] of them (never more than there are)."""
        return self._take(np.arange(self.num_series), np.clip(np.asarray(lengths), 0, self.lengths))

    def extend(self, horizon: int, future: pl.DataFrame | None = None) -> Panel:
        """Append the next `horizon` steps to each series: known columns from `future`, all else missing.

        Rows of `future` outside these steps are ignored, and so are columns that are not known ones. A future table
        without the id column holds for every series. Schemas without known columns need no table.

        Raises
        ------
        DataError
            When a known value is missing, or `future` names unknown series or breaks a rule of :func:`validate`.
        """
        from fusecast.data.future import extend

        return extend(self, horizon, future)

    def to_frame(self) -> pl.DataFrame:
        """Give the rows as a table again, gaps filled; categories are text."""
        series = self.series_of_row
        columns: list[pl.Series] = []
        if self.schema.id is not None:
            columns.append(pl.Series(self.schema.id, self.ids.tolist()).gather(series))
        columns.append(self.times().alias(self.schema.time))
        for column in self.schema.columns:
            name = column.name
            if name in self.reals:
                values = pl.Series(name, self.reals[name], nan_to_null=True)
            elif name in self.static_reals:
                values = pl.Series(name, self.static_reals[name], nan_to_null=True).gather(series)
            else:
                codes = self.categories[name] if name in self.categories else self.static_categories[name][series]
                text = pl.Series(name, [*self.levels[name], None], dtype=pl.String)
                values = text.gather(np.where(codes < 0, len(text) - 1, codes))
            columns.append(values)
        return pl.DataFrame(columns)

    def save(self, folder: str | Path) -> None:
        """Write the panel into a folder: ``panel.json`` and one ``.npy`` file a column."""
        from fusecast.io.panel_store import save_panel

        save_panel(self, Path(folder))

    @staticmethod
    def open(folder: str | Path) -> Panel:
        """Open a saved panel, its columns memory-mapped; nothing is unpickled.

        Raises
        ------
        ArtifactError
            When the folder holds no panel, or files of it are missing or truncated.
        """
        from fusecast.io.panel_store import open_panel

        return open_panel(Path(folder))

    def _take(self, series: NDArray[np.int64], lengths: NDArray[np.int64]) -> Self:
        """Copy the first `lengths` rows of each of some series."""
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        rows = np.arange(indptr[-1]) + np.repeat(self.indptr[series] - indptr[:-1], lengths)
        return replace(
            self,
            ids=self.ids[series],
            indptr=indptr,
            start=self.start[series],
            reals={name: values[rows] for name, values in self.reals.items()},
            categories={name: codes[rows] for name, codes in self.categories.items()},
            static_reals={name: values[series] for name, values in self.static_reals.items()},
            static_categories={name: codes[series] for name, codes in self.static_categories.items()},
        )
