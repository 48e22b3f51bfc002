"""Panel: the checked rows of all series, end to end, as flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from fusecast.data.arrays import BoolArray, FloatArray, IntArray, empty, group_blocks, release
from fusecast.data.schema import Schema
from fusecast.data.time_grid import TimeGrid


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Panel:
    """Validated rows of every series: sorted, one row per step, gaps filled with missing values.

    Values are as in the table, never scaled. A missing real is NaN, a missing category is -1.
    """

    schema: Schema
    time_grid: TimeGrid
    ids: NDArray[np.generic]  # [S] names of the series: whole numbers, or text
    indptr: IntArray  # [S + 1]: series s has the rows indptr[s] to indptr[s + 1]
    start: IntArray  # [S] time of each series' first row, in ticks of the time grid
    reals: Mapping[str, FloatArray]  # targets, observed and known reals, weights: [N]
    categories: Mapping[str, NDArray[np.int32]]  # observed and known categories: codes into levels, [N]
    static_reals: Mapping[str, FloatArray]  # [S]
    static_categories: Mapping[str, NDArray[np.int32]]  # codes into levels, [S]
    levels: Mapping[str, tuple[str, ...]]  # the distinct values of each category, as text
    id_columns: pl.DataFrame | None = None  # [S] ids as in the table, of its types; None where `ids` are these

    def __repr__(self) -> str:
        targets = list(self.schema.targets)
        frequency = self.schema.frequency
        return f"Panel({self.num_series} series, {self.num_rows} rows, {frequency=}, {targets=})"

    @property
    def num_series(self) -> int:
        """Number of series, S."""
        return len(self.ids)

    @property
    def num_rows(self) -> int:
        """Number of rows, N, those of filled gaps included."""
        return int(self.indptr[-1])

    @property
    def lengths(self) -> IntArray:
        """Rows of each series, [S]."""
        return np.diff(self.indptr)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the series as text, [S]."""
        return tuple(str(name) for name in self.ids.tolist())

    def ids_of(self, series: ArrayLike) -> dict[str, pl.Series]:
        """Return the ids of series as columns under the names, and of the types, that they have in the table."""
        names, numbers = self.schema.id_names, np.asarray(series, dtype=np.int64)
        columns = [pl.Series(self.ids.tolist())] if self.id_columns is None else self.id_columns.get_columns()
        return {name: column.gather(numbers).alias(name) for name, column in zip(names, columns, strict=False)}

    def ids_beside_names(self, series: ArrayLike) -> dict[str, pl.Series]:
        """Return what :meth:`ids_of` does; nothing where the names are the ids, text of one column."""
        columns = self.ids_of(series)
        return {} if [column.dtype for column in columns.values()] == [pl.String] else columns

    @property
    def series_of_row(self) -> IntArray:
        """Number of each row's series, [N]."""
        return np.repeat(np.arange(self.num_series), self.lengths)

    @property
    def row_in_series(self) -> IntArray:
        """Position of each row within its series, [N]."""
        return np.arange(self.num_rows) - np.repeat(self.indptr[:-1], self.lengths)

    @cached_property
    def known_lengths(self) -> IntArray:
        """Rows of each series up to its last with a value of a target, [S]; 0 where there is none."""
        return self.by_blocks(Panel._find_known_lengths)

    @cached_property
    def leading_lengths(self) -> IntArray:
        """Rows of each series before its first with a value of a target, [S]; 0 where there is none."""
        return self.by_blocks(Panel._find_leading_lengths)

    def _find_known_lengths(self) -> IntArray:
        lengths = np.zeros(self.num_series, dtype=np.int64)
        series, rows = self._find_rows_with_target()
        np.maximum.at(lengths, series, rows + 1)
        return lengths

    def _find_leading_lengths(self) -> IntArray:
        lengths = self.lengths.copy()
        series, rows = self._find_rows_with_target()
        np.minimum.at(lengths, series, rows)
        return np.where(np.isin(np.arange(self.num_series), series), lengths, 0)

    def _find_rows_with_target(self) -> tuple[IntArray, IntArray]:
        """Return the series of each row with a value of a target, and the position of the row within it."""
        rows = np.flatnonzero(~np.isnan([self.reals[name] for name in self.schema.targets]).all(axis=0))
        series = self.series_of_row[rows]
        return series, rows - self.indptr[series]

    @property
    def weights(self) -> FloatArray | None:
        """How much each row counts in training, [N], NaN where missing; None where all rows count alike."""
        name = self.schema.weight
        if name is None:
            return None
        if name in self.static_reals:
            return np.repeat(self.static_reals[name], self.lengths)
        return self.reals.get(name)

    @property
    def has_value(self) -> BoolArray:
        """Whether each row has a value in any column that varies over time, [N]; rows that fill gaps have none."""
        has_value = np.zeros(self.num_rows, dtype=np.bool_)
        for values in self.reals.values():
            has_value |= ~np.isnan(values)
        for codes in self.categories.values():
            has_value |= codes >= 0
        return has_value

    def blocks(self) -> Iterator[tuple[slice, Self]]:
        """Yield ranges of series, and the panel of each, whose arrays are views; memory that files take is released."""
        for series in group_blocks(self.indptr):
            rows = slice(*self.indptr[[series.start, series.stop]].tolist())
            block = self
            if series != slice(0, self.num_series):
                block = replace(
                    self,
                    ids=self.ids[series],
                    id_columns=None if self.id_columns is None else self.id_columns[series],
                    indptr=self.indptr[series.start : series.stop + 1] - self.indptr[series.start],
                    start=self.start[series],
                    reals={name: values[rows] for name, values in self.reals.items()},
                    categories={name: codes[rows] for name, codes in self.categories.items()},
                    static_reals={name: values[series] for name, values in self.static_reals.items()},
                    static_categories={name: codes[series] for name, codes in self.static_categories.items()},
                )
            yield series, block
            release(*self.reals.values(), *self.categories.values())

    def by_blocks(self, compute: Callable[[Panel], NDArray[np.generic]]) -> NDArray[Any]:
        """Return what is computed of the panel as a value a series or row, block by block, end to end."""
        parts = [compute(block) for _, block in self.blocks()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else compute(self)

    def times(self) -> pl.Series:
        """Return the time of every row, [N], of the table's type."""
        return self.times_at(self.series_of_row, self.row_in_series)

    def times_at(self, series: ArrayLike, rows: ArrayLike) -> pl.Series:
        """Return the time of rows of series, elementwise; rows may lie beyond the end of a series."""
        start = self.start[np.asarray(series, dtype=np.int64)]
        return self.time_grid.times(self.time_grid.advance(start, np.asarray(rows, dtype=np.int64)))

    def select(self, series: ArrayLike) -> Self:
        """Return the panel of some series, by their numbers, in that order."""
        numbers = np.asarray(series, dtype=np.int64)
        return self._take(numbers, self.lengths[numbers])

    def truncate(self, lengths: ArrayLike) -> Self:
        """Return the panel of the first rows of each series, `lengths` [S] of them, or all where there are fewer."""
        return self._take(np.arange(self.num_series), np.clip(np.asarray(lengths), 0, self.lengths))

    def crop(self, first: IntArray) -> Self:
        """Return the panel of the rows of each series from row `first` [S] on."""
        if not first.any():
            return self
        every = np.arange(self.num_series)
        cropped = self._take(every, self.lengths - first, first)
        return replace(cropped, start=self.time_grid.advance(self.start, first))

    def to_frame(self) -> pl.DataFrame:
        """Return the rows as a table, gaps filled; categories are text."""
        series = self.series_of_row
        columns = [*self.ids_of(series).values(), self.times().alias(self.schema.time)]
        for name in (column.name for column in self.schema.columns if column.name not in self.schema.id_names):
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

    def _take(self, series: IntArray, lengths: IntArray, first: IntArray | int = 0) -> Self:
        """Copy `lengths` rows of each of some series, from row `first` on."""
        begin = self.indptr[series] + first
        indptr = np.concatenate(([0], np.cumsum(lengths)))

        def take(values: NDArray[Any]) -> NDArray[Any]:
            taken = empty(int(indptr[-1]), values.dtype, values)
            for part in group_blocks(indptr):
                rows = np.arange(indptr[part.start], indptr[part.stop])
                shift = begin[part] - indptr[:-1][part]
                taken[indptr[part.start] : indptr[part.stop]] = values[rows + np.repeat(shift, lengths[part])]
                release(values, taken)
            return taken

        return replace(
            self,
            ids=self.ids[series],
            id_columns=None if self.id_columns is None else self.id_columns[series],
            indptr=indptr,
            start=self.start[series],
            reals={name: take(values) for name, values in self.reals.items()},
            categories={name: take(codes) for name, codes in self.categories.items()},
            static_reals={name: values[series] for name, values in self.static_reals.items()},
            static_categories={name: codes[series] for name, codes in self.static_categories.items()},
        )
