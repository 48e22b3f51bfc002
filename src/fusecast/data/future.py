"""Extend a panel by the steps after the last row of each series, with what a future table knows of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import BoolArray, FloatArray, IntArray
from fusecast.data.issues import Issues
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import read_key_times
from fusecast.data.parsing import encode_levels, to_numbers, to_text
from fusecast.data.schema import Role
from fusecast.data.time_grid import OFF_GRID, Value
from fusecast.errors import ConfigError, DataError, DataWarning
from fusecast.errors.base import warn


def extend_panel(
    panel: Panel, horizon: int, future: pl.DataFrame | None = None, series: IntArray | None = None
) -> Panel:
    """Append the next `horizon` steps to each series: known columns from `future`, all others missing.

    Rows of `future` outside these steps are ignored, and so are columns that are not known ones. A future table
    without the id column applies to every series. Schemas without known columns need no table. With `series`, numbers
    of series, only these are returned, and rows of others are not read. Empty cells stay missing, with a DataWarning
    that counts them.

    Raise a DataError when a known column has no value at all, a row is missing, or `future` has unknown series or rows
    that :func:`fusecast.data.panel_builder.build_panel` would refuse; a ConfigError when `horizon` is not positive.
    """
    if horizon < 1:
        raise ConfigError.not_positive("horizon", horizon)
    known = panel.schema.names(Role.KNOWN)
    future, whole = future if known else None, None
    if series is not None:
        if future is not None:
            future, whole = select_future_rows(future, panel, series), future
        panel = panel.select(series)
    table = FutureTable(panel, horizon, future, whole)
    added = horizon * np.arange(panel.num_series + 1)
    indptr = panel.indptr + added
    old_rows = np.arange(panel.num_rows) + np.repeat(added[:-1], panel.lengths)
    new_rows = (indptr[:-1] + panel.lengths)[:, None] + np.arange(horizon)

    def append(values: NDArray[Value], future_values: NDArray[Value] | float) -> NDArray[Value]:
        extended = np.empty(int(indptr[-1]), dtype=values.dtype)
        extended[old_rows] = values
        extended[new_rows] = future_values
        return extended

    levels = dict(panel.levels)
    reals, categories = {}, {}
    for name, values in panel.reals.items():
        reals[name] = append(values, table.reals(name) if name in known else np.nan)
    for name, codes in panel.categories.items():
        future_codes: NDArray[np.int32] | int = -1
        if name in known:
            future_codes, levels[name] = table.codes(name)
        categories[name] = append(codes, future_codes)
    table.issues.raise_if_any()
    if table.holes:
        warn(DataWarning.future_values_masked(table.holes, horizon, _find_complete(panel, table.holes)))
    return replace(panel, indptr=indptr, reals=reals, categories=categories, levels=levels)


def select_future_rows(future: pl.DataFrame, panel: Panel, series: IntArray) -> pl.DataFrame:
    """Return the rows of a future table for some series of a panel, by their numbers.

    Rows without an id are kept, and so are those of unknown series, which :func:`extend_panel` refuses.
    """
    id_ = panel.schema.id
    if id_ is None or id_ not in future.columns:
        return future
    selected = set(series.tolist())
    others = [name for s, name in enumerate(panel.names) if s not in selected]
    return future.filter(~to_text(future[id_], Issues()).is_in(others).fill_null(value=False))


def _find_complete(panel: Panel, names: Iterable[str]) -> list[str]:
    """Return the columns that have a value in every row of a panel."""
    return [
        name
        for name in names
        if not (np.isnan(panel.reals[name]) if name in panel.reals else panel.categories[name] < 0).any()
    ]


class FutureTable:
    """Rows of a future table, each with its series and its step after the last row.

    Problems with the keys of rows are raised at once, problems with values are collected; missing rows, and columns
    without any value, are raised when their column is read. `whole` is the table that `frame` is a selection of.
    """

    def __init__(
        self, panel: Panel, horizon: int, frame: pl.DataFrame | None, whole: pl.DataFrame | None = None
    ) -> None:
        self.panel, self.horizon, self.whole = panel, horizon, whole
        self.issues = Issues()
        self.holes: dict[str, tuple[int, int, int]] = {}  # known column -> values, series that lack some, and all
        self.frame = pl.DataFrame()
        self.has_row = np.zeros((panel.num_series, horizon), dtype=np.bool_)
        if frame is not None:
            self.series, self.steps, rows = self._locate_rows(frame)
            self.frame = frame[rows]
            self.has_row[self.series, self.steps] = True

    def reals(self, name: str) -> FloatArray:
        """Return the values of a known real, [S, horizon]."""
        values = np.full((self.panel.num_series, self.horizon), np.nan)
        if name in self.frame.columns:
            values[self.series, self.steps] = to_numbers(self.frame[name], self.issues)
        self._check_missing(name, np.isnan(values))
        return values

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Return the codes of a known category, [S, horizon], and its levels: those of the panel, then new ones."""
        levels = self.panel.levels[name]
        codes = np.full((self.panel.num_series, self.horizon), -1, dtype=np.int32)
        if name in self.frame.columns:
            text = to_text(self.frame[name], self.issues)
            new = text.drop_nulls().unique().sort()
            levels = (*levels, *new.filter(~new.is_in(list(levels))))
            codes[self.series, self.steps] = encode_levels(text, pl.Series(levels, dtype=pl.String))
        self._check_missing(name, codes < 0)
        return codes, levels

    def _check_missing(self, name: str, missing: BoolArray) -> None:
        """Record the missing values [S, horizon] of a known column; raise where rows are missing, or every value."""
        self.issues.raise_if_any()  # else text among numbers would be reported as missing
        if not missing.any():
            return
        without_row = missing & ~self.has_row
        wanting = without_row if without_row.any() else missing
        lacking = np.flatnonzero(wanting.any(axis=1))
        if self.frame.columns and name not in self.frame.columns:
            raise DataError.future_column_missing(name, self.frame.columns, self.horizon, len(lacking))
        if without_row.any():
            s = int(lacking[0])
            row = int(self.panel.lengths[s] + wanting[s].argmax())
            first = f"{self.panel.times_at([s], [row])[0]} of series {self.panel.ids[s].item()!r}"
            raise DataError.future_values_missing(name, self.panel.ids[lacking].tolist(), self.horizon, first)
        if missing.all() and not self._has_value_elsewhere(name):
            raise DataError.future_column_empty(name, self.panel.ids.tolist(), self.horizon)
        self.holes[name] = (int(missing.sum()), len(lacking), int(missing.all(axis=1).sum()))

    def _has_value_elsewhere(self, name: str) -> bool:
        """Whether a known column has a value in the table that the rows were selected from."""
        if self.whole is None:
            return False
        if name in self.panel.reals:
            return not np.isnan(to_numbers(self.whole[name], Issues())).all()
        return not to_text(self.whole[name], Issues()).is_null().all()

    def _locate_rows(self, frame: pl.DataFrame) -> tuple[IntArray, IntArray, IntArray]:
        """Return the series, step and row of the rows that lie in the horizon."""
        panel, schema, time_grid, issues = self.panel, self.panel.schema, self.panel.time_grid, self.issues
        issues.missing_columns([schema.time], frame.columns)
        issues.raise_if_any()
        keyed_times = read_key_times(frame[schema.time], schema, time_grid, issues)
        issues.raise_if_any()
        assert keyed_times is not None
        ticks, rows = time_grid.ticks(keyed_times[0]), np.arange(len(frame))
        if schema.id is None or schema.id not in frame.columns:
            series = np.repeat(np.arange(panel.num_series), len(rows))
            ticks, rows = np.tile(ticks, panel.num_series), np.tile(rows, panel.num_series)
        else:
            series = self._find_series(frame[schema.id])
        steps = time_grid.steps_between(panel.start[series], ticks)

        def format_time(i: int) -> str:
            return str(time_grid.times(ticks[i : i + 1])[0])

        def describe(i: int) -> str:
            return f"{format_time(i)} of series {panel.ids[series[i]].item()!r}"

        if (off_grid := np.flatnonzero(steps == OFF_GRID)).size:
            issues.off_grid(schema.time, time_grid.frequency, off_grid, series[off_grid], describe)
        steps = steps - panel.lengths[series]
        inside = np.flatnonzero((steps >= 0) & (steps < self.horizon))
        series_inside, steps, rows = series[inside], steps[inside], rows[inside]
        _, first, counts = np.unique(series_inside * self.horizon + steps, return_index=True, return_counts=True)
        if (repeated := inside[first[counts > 1]]).size:
            issues.duplicates(schema.time, schema.id, map(format_time, repeated), int((counts - 1).sum()))
        issues.raise_if_any()
        return series_inside, steps, rows

    def _find_series(self, column: pl.Series) -> IntArray:
        """Return the number of each row's series, by name: ids may be int in one table and text in the other."""
        text = to_text(column, self.issues)
        self.issues.null_keys(text, "id")
        names = pl.Series(self.panel.names, dtype=pl.String)
        numbers = text.replace_strict(names, np.arange(len(names)), default=None, return_dtype=pl.Int64)
        unknown = text.filter(numbers.is_null() & text.is_not_null()).unique().sort()
        if len(unknown):
            self.issues.unknown_series(column.name, unknown.to_list())
        self.issues.raise_if_any()
        return numbers.to_numpy()
