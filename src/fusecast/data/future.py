"""Future: the steps after the last row of each series, with what is known of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.issues import EXAMPLES, Issues
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import agreed_clock, first
from fusecast.data.parsing import codes_of, read_times, to_numbers, to_text
from fusecast.data.schema import Role
from fusecast.data.time_grid import OFF_GRID, Value
from fusecast.errors import ConfigError, DataError


def extend(panel: Panel, horizon: int, future: pl.DataFrame | None) -> Panel:
    """Append `horizon` rows to each series; see :meth:`Panel.extend`."""
    if horizon < 1:
        raise ConfigError.not_positive("horizon", horizon)
    known = panel.schema.names(Role.KNOWN)
    table = FutureTable(panel, horizon, future if known else None)
    series = np.arange(panel.num_series)
    indptr = panel.indptr + horizon * np.arange(panel.num_series + 1)
    old = np.arange(panel.num_rows) + horizon * np.repeat(series, panel.lengths)
    new = (indptr[:-1] + panel.lengths)[:, None] + np.arange(horizon)

    def spread(values: NDArray[Value], future_values: NDArray[Value] | None, missing: float) -> NDArray[Value]:
        rows = np.full(int(indptr[-1]), missing, dtype=values.dtype)
        rows[old] = values
        if future_values is not None:
            rows[new] = future_values
        return rows

    levels = dict(panel.levels)
    reals, categories = {}, {}
    for name, values in panel.reals.items():
        reals[name] = spread(values, table.reals(name) if name in known else None, np.nan)
    for name, codes in panel.categories.items():
        future_codes = None
        if name in known:
            future_codes, levels[name] = table.codes(name)
        categories[name] = spread(codes, future_codes, -1)
    table.problems.raise_if_any()
    return replace(panel, indptr=indptr, reals=reals, categories=categories, levels=levels)


def rows_of(future: pl.DataFrame, panel: Panel, series: NDArray[np.int64]) -> pl.DataFrame:
    """Give the rows of a future table that are about some series of a panel, by their numbers.

    Rows without an id are about all, and names that the panel does not know stay, so that :func:`extend` tells.
    """
    id_ = panel.schema.id
    if id_ is None or id_ not in future.columns:
        return future
    others = [str(name) for name in np.delete(panel.ids, series).tolist()]
    text = to_text(future[id_], Issues())
    return future.filter(~text.is_in(others).fill_null(value=False))


class FutureTable:
    """Rows of a future table, each with its series and its step after the last row.

    Problems with rows are raised at once when they have no place, else collected; missing values are raised when
    their column is read.
    """

    def __init__(self, panel: Panel, horizon: int, frame: pl.DataFrame | None) -> None:
        self.panel, self.horizon = panel, horizon
        self.problems = Issues()
        if frame is None:
            frame = pl.DataFrame()
        else:
            series, steps, rows = self._place(frame)
            frame = frame[rows]
            self.series, self.steps = series, steps
        self.frame = frame

    def reals(self, name: str) -> NDArray[np.float64]:
        """Values of a known real, [S, horizon]."""
        values = np.full((self.panel.num_series, self.horizon), np.nan)
        if name in self.frame.columns:
            values[self.series, self.steps] = to_numbers(self.frame[name], self.problems)
        self._require(name, np.isnan(values))
        return values

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Codes of a known category, [S, horizon], and its levels: those of the panel, then new ones."""
        levels = self.panel.levels[name]
        codes = np.full((self.panel.num_series, self.horizon), -1, dtype=np.int32)
        if name in self.frame.columns:
            text = to_text(self.frame[name], self.problems)
            new = text.drop_nulls().unique().sort()
            levels = (*levels, *new.filter(~new.is_in(list(levels))))
            codes[self.series, self.steps] = codes_of(text, pl.Series(levels, dtype=pl.String))
        self._require(name, codes < 0)
        return codes, levels

    def _require(self, name: str, missing: NDArray[np.bool_]) -> None:
        self.problems.raise_if_any()  # text among numbers would otherwise be called missing
        lacking = np.flatnonzero(missing.any(axis=1))
        if lacking.size and self.frame.columns and name not in self.frame.columns:
            raise DataError.future_column_missing(name, self.frame.columns, self.horizon, len(lacking))
        if lacking.size:
            s = int(lacking[0])
            row = int(self.panel.lengths[s] + missing[s].argmax())
            when = f"{self.panel.times_of([s], [row])[0]} of series {self.panel.ids[s].item()!r}"
            raise DataError.future_values_missing(name, self.panel.ids[lacking].tolist(), self.horizon, when)

    def _place(self, frame: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Series, step and row of the rows that lie in the horizon."""
        panel, schema, problems = self.panel, self.panel.schema, self.problems
        if schema.time not in frame.columns:
            problems.missing_column(schema.time, frame.columns)
            problems.raise_if_any()
        counted = panel.clock.step.is_integer
        times = read_times(frame[schema.time], panel.clock.time_zone, problems, counted=counted)
        if times is not None:
            agreed_clock(times, schema, panel.clock, problems)
            if times.null_count():
                problems.null_key(schema.time, "time", first(times.is_null()), times.null_count())
        problems.raise_if_any()
        assert times is not None
        ticks, rows = panel.clock.ticks(times), np.arange(len(frame))
        if schema.id is None or schema.id not in frame.columns:
            series = np.repeat(np.arange(panel.num_series), len(rows))
            ticks, rows = np.tile(ticks, panel.num_series), np.tile(rows, panel.num_series)
        else:
            series = self._series_of(frame[schema.id])
            problems.raise_if_any()
        steps = panel.clock.steps_between(panel.start[series], ticks)

        def place(at: int) -> str:
            return f"{panel.clock.times(ticks[at : at + 1])[0]} of series {panel.ids[series[at]].item()!r}"

        if (off := np.flatnonzero(steps == OFF_GRID)).size:
            count = len(np.unique(series[off]))
            problems.off_grid(schema.time, panel.clock.frequency, [place(i) for i in off[:EXAMPLES]], off.size, count)
        steps = steps - panel.lengths[series]
        inside = np.flatnonzero((steps >= 0) & (steps < self.horizon))
        series, steps, rows = series[inside], steps[inside], rows[inside]
        _, where, counts = np.unique(series * self.horizon + steps, return_index=True, return_counts=True)
        if (again := inside[where[counts > 1]]).size:
            ticks_inside = [f"{panel.clock.times(ticks[i : i + 1])[0]}" for i in again[:EXAMPLES]]
            problems.duplicates(schema.time, schema.id, ticks_inside, int((counts - 1).sum()))
        problems.raise_if_any()
        return series, steps, rows

    def _series_of(self, column: pl.Series) -> NDArray[np.int64]:
        """Number the series that an id column names, as text: ids may be int in one table and text in the other."""
        text = to_text(column, self.problems)
        if text.null_count():
            self.problems.null_key(column.name, "id", first(text.is_null()), text.null_count())
        names = pl.Series([str(name) for name in self.panel.ids.tolist()], dtype=pl.String)
        numbers = text.replace_strict(names, np.arange(len(names)), default=None, return_dtype=pl.Int64)
        unknown = text.filter(numbers.is_null() & text.is_not_null()).unique().sort()
        if len(unknown):
            self.problems.unknown_series(column.name, [repr(name) for name in unknown[:EXAMPLES]], len(unknown))
        return numbers.fill_null(0).to_numpy()
