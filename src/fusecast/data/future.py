"""Extend a panel by the steps after the last row of each series, with what a future table knows of them.

Future rows may be in the table itself: :func:`split_future_rows` separates them from the rows before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    count_codes,
    empty,
    group_blocks,
    map_values,
    release,
    row_blocks,
)
from fusecast.data.ids.columns import expand_rows, name_series, read_id_column, split_names
from fusecast.data.ids.matching import match_ids, note_matched
from fusecast.data.issues import Issues, report_unknown_levels
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import read_key_times
from fusecast.data.parsing import encode_levels, holds_booleans, is_flag, match_levels, to_numbers, to_text
from fusecast.data.schema import Kind, Role
from fusecast.data.time_grid import OFF_GRID, Value
from fusecast.errors import ConfigError, DataError, DataWarning
from fusecast.errors.base import format_count, some_of, warn

FutureRows = Literal["auto", "each", "none"]
"""Which rows without a target are the steps to forecast, see :func:`split_future_rows`."""
MONTHS_TO_SAME_DAY = 48
"""Months after which every day of a month occurs again, 29 February too."""


def extend_panel(
    panel: Panel,
    horizon: int,
    future: pl.DataFrame | None = None,
    series: IntArray | None = None,
    *,
    partial: bool = False,
) -> Panel:
    """Append the next `horizon` steps to each series: known columns from `future`, all others missing.

    Rows of `future` outside these steps are ignored, and so are columns that are not known ones. A future table
    without the id column applies to every series, and with some of several to all series with the same values there.
    Schemas without known columns need no table. With `series`, numbers of series, only these are returned, and rows of
    others are not read. Empty cells stay missing, with a DataWarning that counts them. With `partial` this holds for
    missing rows and whole columns too.

    Raise a DataError when a row is missing, a known column has no value at all where the panel has every one, or
    `future` has unknown series or rows that :func:`fusecast.data.panel_builder.build_panel` would refuse; a ConfigError
    when `horizon` is not positive.
    """
    if horizon < 1:
        raise ConfigError.not_positive("horizon", horizon)
    known = panel.schema.names(Role.KNOWN)
    future, whole = future if known else None, None
    if series is not None:
        if future is not None:
            future, whole = select_future_rows(future, panel, series), future
        panel = panel.select(series)
    table = FutureTable(panel, horizon, future, whole, partial=partial)
    indptr = panel.indptr + horizon * np.arange(panel.num_series + 1)

    def append(values: NDArray[Value], future_values: NDArray[Value] | float) -> NDArray[Value]:
        extended = empty(int(indptr[-1]), values.dtype, values)
        following = np.broadcast_to(np.asarray(future_values, dtype=values.dtype), (panel.num_series, horizon))
        for part in group_blocks(panel.indptr):
            old, new = (slice(*bounds[[part.start, part.stop]].tolist()) for bounds in (panel.indptr, indptr))
            is_new = np.zeros(new.stop - new.start, dtype=np.bool_)
            is_new[((indptr[1:][part] - horizon - new.start)[:, None] + np.arange(horizon)).ravel()] = True
            block = np.empty(len(is_new), dtype=values.dtype)
            block[is_new], block[~is_new] = following[part].ravel(), values[old]
            extended[new] = block
            release(values, extended)
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
    texts, ids = match_series(future, panel, Issues(), says=False)
    if not texts.width:
        return future
    rows, numbers = expand_rows(ids, texts)
    keeps = np.ones(len(future), dtype=np.bool_)
    keeps[rows] = False
    keeps[rows[np.isin(numbers, series)]] = True
    return future.filter(keeps)


def match_series(
    future: pl.DataFrame, panel: Panel, issues: Issues, *, says: bool = True
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the ids in a future table as text, spelled as in the panel, and those of the panel [S].

    A DataNote names those that were written otherwise, if that is to be said.
    """
    names = panel.schema.id_names
    ids = split_names(panel.names, names)
    columns = []
    for name in (name for name in names if name in future.columns):
        text = to_text(read_id_column(future[name], issues), issues)
        known = ids[name].unique().sort().to_list()
        matched = match_ids(text.unique().drop_nulls().sort().to_list(), known)
        if says:
            note_matched(name, matched)
        columns.append(text.replace(matched))
    return pl.DataFrame(columns), ids


def _find_complete(panel: Panel, names: Iterable[str]) -> list[str]:
    """Return the columns that have a value in every row of a panel."""
    return [
        name for name in names if not _has_missing(panel.reals[name] if name in panel.reals else panel.categories[name])
    ]


def _has_missing(values: NDArray[Any]) -> bool:
    """Whether a real or category is missing in any row."""
    found = False
    for rows in row_blocks(len(values)):
        found = found or bool((np.isnan(values[rows]) if values.dtype == np.float64 else values[rows] < 0).any())
        release(values)
    return found


class FutureTable:
    """Rows of a future table, each with its series and its step after the last row.

    Problems with the keys of rows are raised at once, problems with values are collected; missing rows, and columns
    without any value where the panel has every one, are raised when their column is read, unless the table may be
    `partial`. `whole` is the table that `frame` is a selection of.
    """

    def __init__(
        self,
        panel: Panel,
        horizon: int,
        frame: pl.DataFrame | None,
        whole: pl.DataFrame | None = None,
        *,
        partial: bool = False,
    ) -> None:
        self.panel, self.horizon, self.whole, self.partial = panel, horizon, whole, partial
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
            values[self.series, self.steps] = to_numbers(self.frame[name], self.issues, flags=True)
            if holds_booleans(self.frame[name]) and not is_flag(self.panel.reals[name]):
                self.issues.booleans_for_numbers(self.frame[name])
        self._check_missing(name, np.isnan(values))
        return values

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Return the codes of a known category, [S, horizon], and its levels: those of the panel, then new ones.

        Other spellings of a level, such as `1` of `true`, are that level. Raise a DataError where few values are known.
        """
        levels = known = self.panel.levels[name]
        codes = np.full((self.panel.num_series, self.horizon), -1, dtype=np.int32)
        if name in self.frame.columns:
            text = to_text(self.frame[name], self.issues)
            matched = match_levels(text.drop_nulls().unique().sort(), known)
            text = text.replace(matched)
            levels = tuple(dict.fromkeys((*known, *matched.values())))
            codes[self.series, self.steps] = encode_levels(text, pl.Series(levels, dtype=pl.String))
            report_unknown_levels(name, np.bincount(codes[codes >= 0], minlength=len(levels)), levels, known)
        self._check_missing(name, codes < 0)
        return codes, levels

    def _check_missing(self, name: str, missing: BoolArray) -> None:
        """Record the missing values [S, horizon] of a known column; raise where rows are missing, or every value."""
        self.issues.raise_if_any()  # else text among numbers would be reported as missing
        if not missing.any():
            return
        if not self.partial:
            self._refuse_missing(name, missing)
        lacking = int(missing.any(axis=1).sum())
        self.holes[name] = (int(missing.sum()), lacking, int(missing.all(axis=1).sum()))

    def _refuse_missing(self, name: str, missing: BoolArray) -> None:
        """Raise where a known column lacks rows, or every value although the panel lacks none."""
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
        if missing.all() and not self._has_value_elsewhere(name) and _find_complete(self.panel, [name]):
            raise DataError.future_column_empty(name, self.panel.ids.tolist(), self.horizon)

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
        keyed_times = read_key_times(frame, schema, time_grid, issues)
        issues.raise_if_any()
        assert keyed_times is not None
        ticks = time_grid.ticks(keyed_times[0])
        rows, series = self._find_series(frame)
        ticks = ticks[rows]
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
            issues.duplicates(schema.time, schema.id_names, map(format_time, repeated), int((counts - 1).sum()))
        issues.raise_if_any()
        return series_inside, steps, rows

    def _find_series(self, frame: pl.DataFrame) -> tuple[IntArray, IntArray]:
        """Return rows and the series that they are about, by name: ids may be int in one table and text in the other.

        Without all id columns these are several series.
        """
        names = self.panel.schema.id_names
        texts, ids = match_series(frame, self.panel, self.issues)
        for column in texts.iter_columns():
            self.issues.null_keys(column, "id")
        self.issues.raise_if_any()
        if texts.width == 0:
            series = np.arange(self.panel.num_series)
            return np.tile(np.arange(len(frame)), len(series)), np.repeat(series, len(frame))
        rows, series = expand_rows(ids, texts)
        unknown = texts.filter(~np.isin(np.arange(len(texts)), rows)).unique().sort(texts.columns)
        if len(unknown):
            self.issues.unknown_series([name for name in names if name in texts.columns], name_series(unknown))
        self.issues.raise_if_any()
        return rows, series


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The rows of a table that are the steps to forecast: their known columns, and the number of each series."""

    rows: pl.DataFrame  # id, time and known columns
    steps: IntArray  # [S] from the last row of the series in the panel to its last row in the table, 0 without any
    of_own: IntArray  # numbers of series that are forecast from an earlier time on than the others

    def describe(self, panel: Panel, horizon: int) -> list[str]:
        """Return what was understood, as phrases."""
        planned = np.setdiff1d(np.flatnonzero(self.steps), self.of_own)
        known = panel.schema.names(Role.KNOWN)
        first = panel.times_at(planned, panel.lengths[planned]).min()
        targets = " and ".join(map(repr, panel.schema.targets))
        role = "the steps to forecast, with their known columns as the plan" if known else "the steps to forecast"
        count = format_count(len(planned), "series")
        most = format_count(int(self.steps.max()), "step")
        where = f"{targets} is empty at the end of {count}, from {first!s} on, in up to {most}"
        texts = [f"{where}: these rows are {role} (table.future_rows: none makes them missing values)"]
        if len(self.of_own):
            names = _name_series(panel, self.of_own)
            texts.append(f"forecast after their own last target, as their rows end before that of others: {names}")
        if len(rest := np.flatnonzero(self.steps == 0)):
            what = "not forecast, as they have no such rows" if known else "forecast after their last row"
            texts.append(f"{what}: {_name_series(panel, rest)}")
        few = np.flatnonzero((self.steps > 0) & (self.steps < horizon))
        if known and len(few):
            texts.append(f"fewer rows than the horizon of {horizon}: {_name_series(panel, few)}")
        if self.steps.max() > horizon:
            texts.append(f"steps after the horizon of {horizon} are not forecast")
        return texts


def split_future_rows(panel: Panel, frame: pl.DataFrame | None, which: FutureRows) -> tuple[Panel, Plan | None]:
    """Return the panel of a table without the steps to forecast that are in the table, and these; None without any.

    `auto`: rows after the last target of all series are to be forecast in every series, and rows without a target
    before are missing values. Where there are such rows, a series whose own rows end before that time, the last ones
    without a target but with a value of a known column, is forecast after its own last target. `each`: rows after the
    last target of their own series are to be forecast. `none`: no rows. Nor are there any in a table without targets.
    Without the `frame` that the panel was made of, these are its rows with a value of a known column.
    """
    lengths, of_own = find_history(panel, which)
    steps = panel.lengths - lengths
    if not steps.any():
        return panel, None
    if frame is None:
        frame = _list_last_rows(panel, lengths)
    history = _drop_unused_levels(_begin_earlier(panel.truncate(lengths), lengths == 0))
    schema = panel.schema
    keys = (*schema.id_names, schema.time)
    table = FutureTable(history, int(steps.max()), frame.select(*keys, *schema.names(Role.KNOWN)))
    return history, Plan(rows=table.frame, steps=steps, of_own=of_own)


def find_history(panel: Panel, which: FutureRows) -> tuple[IntArray, IntArray]:
    """Return the rows of each series before the steps to forecast [S], and the series forecast from an earlier time."""
    lengths, last, nothing = panel.lengths, panel.indptr[1:] - 1, np.empty(0, dtype=np.int64)
    if which == "none" or not np.isnan([panel.reals[name][last] for name in panel.schema.targets]).all(axis=0).any():
        return lengths, nothing
    known, has_target = panel.known_lengths, panel.known_lengths > 0
    if which == "each" or not has_target.any():
        return np.where(has_target, known, lengths), nothing
    latest = panel.time_grid.advance(panel.start, known - 1)[has_target].max()
    until = panel.time_grid.first_step_at(panel.start, latest + 1)  # negative in a series that begins later
    if (lengths <= until).all():
        return lengths, nothing
    planned = np.zeros(panel.num_series, dtype=np.bool_)
    for name in panel.schema.names(Role.KNOWN):
        planned |= ~np.isnan(panel.reals[name][last]) if name in panel.reals else panel.categories[name][last] >= 0
    of_own = planned & has_target & (known < lengths) & (lengths < until)
    return np.where(of_own, known, np.clip(until, 0, lengths)), np.flatnonzero(of_own)


def _list_last_rows(panel: Panel, lengths: IntArray) -> pl.DataFrame:
    """Return the rows of each series after its first `lengths` [S] in which a known column has a value, as a table."""
    tail = panel.crop(lengths)
    has_value = np.zeros(tail.num_rows, dtype=np.bool_)
    for name in panel.schema.names(Role.KNOWN):
        has_value |= ~np.isnan(tail.reals[name]) if name in tail.reals else tail.categories[name] >= 0
    return tail.to_frame().filter(pl.Series(has_value))


def _drop_unused_levels(panel: Panel) -> Panel:
    """Return a panel whose known categories have no levels that no row has, so that these are new in a future table."""
    levels, categories = dict(panel.levels), dict(panel.categories)
    for name in panel.schema.names(Role.KNOWN, Kind.CATEGORICAL):
        used = np.flatnonzero(count_codes(categories[name], len(levels[name])))
        new_codes = np.full(len(levels[name]) + 1, -1, dtype=np.int32)  # the last entry is for -1
        new_codes[used] = np.arange(len(used))
        categories[name] = map_values(categories[name], new_codes.__getitem__, np.int32)
        levels[name] = tuple(levels[name][code] for code in used.tolist())
    return replace(panel, levels=levels, categories=categories)


def _begin_earlier(panel: Panel, without_row: BoolArray) -> Panel:
    """Return a panel in which series without a row have one before their first step, all of it missing."""
    if not without_row.any():
        return panel
    grid, added = panel.time_grid, np.zeros(panel.num_series, dtype=np.int64)
    start = panel.start.copy()
    for steps in range(MONTHS_TO_SAME_DAY, 0, -1):  # where months are short, not every step back can be undone
        earlier = grid.advance(panel.start, np.full_like(added, -steps))
        undone = without_row & (grid.advance(earlier, np.full_like(added, steps)) == panel.start)
        added[undone], start[undone] = steps, earlier[undone]
    indptr = panel.indptr + np.concatenate(([0], np.cumsum(added)))

    def insert(values: NDArray[Value], missing: float) -> NDArray[Value]:
        longer = empty(int(indptr[-1]), values.dtype, values)
        for part in group_blocks(panel.indptr):
            old, new = (slice(*bounds[[part.start, part.stop]].tolist()) for bounds in (panel.indptr, indptr))
            block = np.full(new.stop - new.start, missing, dtype=values.dtype)
            shift = indptr[:-1][part] + added[part] - panel.indptr[:-1][part] - new.start
            block[np.arange(old.start, old.stop) + np.repeat(shift, panel.lengths[part])] = values[old]
            longer[new] = block
            release(values, longer)
        return longer

    return replace(
        panel,
        start=start,
        indptr=indptr,
        reals={name: insert(values, np.nan) for name, values in panel.reals.items()},
        categories={name: insert(codes, -1) for name, codes in panel.categories.items()},
    )


def _name_series(panel: Panel, series: IntArray) -> str:
    """Return the number of some series, and their names."""
    return f"{format_count(len(series), 'series')} ({some_of([panel.names[s] for s in series.tolist()])})"
