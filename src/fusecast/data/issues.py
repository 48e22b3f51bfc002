"""Collect the problems of a table, so that one error reports all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import BoolArray, IntArray
from fusecast.data.frequency import Frequency, format_weekdays
from fusecast.errors import DataError, DataWarning
from fusecast.errors.base import did_you_mean, format_count, join_words, list_examples, shorten, warn
from fusecast.errors.schema import clock_change_hint

MIN_SHARE_OF_KNOWN = 0.5
"""Share of the values of a category that must be known levels; with fewer it is surely written in another way."""


def first_true(flags: pl.Series) -> int:
    """Return the row of the first true value, 0 where none is."""
    return int(flags.arg_max() or 0)


def report_unknown_levels(
    name: str, counts: NDArray[np.integer], levels: Sequence[str], known: Collection[str], *, warns: bool = True
) -> None:
    """Warn of values of a category that are not `known`; `counts` are those of each of its `levels`.

    Raise a DataError where less than half of all values are known.
    """
    known = frozenset(known)
    unknown = {
        level: count for level, count in zip(levels, counts.tolist(), strict=True) if count and level not in known
    }
    if not unknown or not known:
        return
    missed, total = sum(unknown.values()), int(counts.sum())
    if total - missed < MIN_SHARE_OF_KNOWN * total:
        raise DataError.levels_unknown(name, missed, total, unknown, sorted(known))
    if warns:
        warn(DataWarning.levels_unknown(name, missed, total, unknown, sorted(known)))


class Issues:
    """Problems of a table, one sentence each. Rows are counted from 0, as in pandas and polars.

    `offset` is the number of rows before the rows at hand, for tables that are read in batches. Examples are listed
    up to five and then counted, so that they may be computed lazily.
    """

    def __init__(self, offset: int = 0) -> None:
        self.sentences: list[str] = []
        self.unread: set[str] = set()  # columns with a value that could not be read
        self.offset = offset

    def __bool__(self) -> bool:
        return bool(self.sentences)

    def raise_if_any(self) -> None:
        """Raise one DataError with all problems."""
        if self.sentences:
            raise DataError.from_issues(self.sentences)

    def missing_columns(self, names: Iterable[str], available: Sequence[str]) -> None:
        for name in names:
            if name not in available:
                self.sentences.append(f"column {name!r} is not in the table\n{did_you_mean(name, available)}")

    def not_numbers(self, text: pl.Series, failed: pl.Series) -> None:
        self.unread.add(text.name)
        examples = list_examples([self._format_cell(text, first_true(failed))], int(failed.sum()))
        self.sentences.append(
            f"column {text.name!r} is real but holds text: {examples}\n"
            "Hint: write plain numbers such as 1234.5, without units or thousands separators, and leave the cell empty "
            "where a value is missing; declare a column of words as categorical, which a target cannot be"
        )

    def booleans_for_numbers(self, column: pl.Series) -> None:
        examples = ", ".join(map(repr, column.drop_nulls().unique().sort().to_list()[:2]))
        self.sentences.append(
            f"column {column.name!r} holds {examples}, and numbers other than 0 and 1 in the rows before\n"
            "Hint: write numbers as there"
        )

    def unreadable_type(self, column: pl.Series, expected: str, hint: str | None = None) -> None:
        self.unread.add(column.name)
        example = ""
        if column.dtype == pl.Object or column.dtype.is_nested():
            row = first_true(column.is_not_null())
            example = f": row {row + self.offset} holds {shorten(column.slice(row, 1).to_list()[0])}"
        self.sentences.append(
            f"column {column.name!r} has type {column.dtype}, which cannot be read as {expected}{example}\n"
            f"Hint: {hint or f'convert the column to {expected} before passing the table'}"
        )

    def infinite(self, name: str, flags: BoolArray) -> None:
        self.sentences.append(
            f"column {name!r} has {format_count(int(flags.sum()), 'infinite value')}, "
            f"the first in row {int(flags.argmax()) + self.offset}\nHint: leave the cell empty where a value is missing"
        )

    def null_keys(self, column: pl.Series, use: str) -> None:
        if count := column.null_count():
            self.sentences.append(
                f"{use} column {column.name!r} is empty in {format_count(count, 'row')}, "
                f"the first is row {first_true(column.is_null()) + self.offset}\n"
                f"Hint: fill in the {use} of these rows, or remove them"
            )

    def unreadable_time(self, text: pl.Series, row: int, why: str) -> None:
        self.sentences.append(
            f"time column {text.name!r} holds {self._format_cell(text, row)}, {why}\n"
            "Hint: write times as 2017-01-31 or 2017-01-31 13:30:00"
        )

    def numbered_weeks(self, numbers: pl.Series) -> None:
        self.sentences.append(
            f"time column {numbers.name!r} holds whole numbers from {numbers.min()!r} to {numbers.max()!r}, which look "
            "like years and weeks\nHint: write them as 2017-W05, or set the frequency 1i where they count steps"
        )

    def ambiguous_dates(self, text: pl.Series, row: int) -> None:
        self.sentences.append(
            f"time column {text.name!r} can be read day first or month first: {self._format_cell(text, row)}\n"
            "Hint: write dates as 2017-01-31, or parse the column before passing the table"
        )

    def exchanged_dates(self, times: pl.Series, row: int) -> None:
        self.sentences.append(
            f"the rows are out of order in time column {times.name!r}, the first is row {row + self.offset} with "
            f"{times[row]}, and in order where day and month are exchanged in all dates up to day 12: a program has "
            "read days as months\nHint: read the dates again in the order in which they are written; where they are "
            "right, sort the table by time"
        )

    def mixed_zones(self, text: pl.Series, first: int, other: int) -> None:
        self.sentences.append(
            f"time column {text.name!r} mixes time zones: {text[first]!r} in row 0, {self._format_cell(text, other)}\n"
            "Hint: set the zone to read them in with `time_zone`, such as --set table.time_zone=Europe/Berlin, "
            "or write all times in one zone"
        )

    def wrong_time_kind(self, times: pl.Series, expected: str, hint: str) -> None:
        self.sentences.append(f"time column {times.name!r} holds {times.dtype}, but {expected}\nHint: {hint}")

    def nonexistent_times(self, name: str, zone: str, lost: pl.Series) -> None:
        self.sentences.append(
            f"time column {name!r} has {format_count(int(lost.sum()), 'time')} that zone {zone} skips or repeats, "
            f"the first in row {first_true(lost) + self.offset}\nHint: write the times with their offset, or in UTC; "
            "two rows of a series at a repeated time are told apart by their order"
        )

    def off_grid(
        self, name: str, frequency: str, rows: IntArray, series: NDArray[np.integer], describe: Callable[[int], str]
    ) -> None:
        hint = "set another `frequency`, or correct these rows"
        if Frequency.parse(frequency).unit not in ("h", "m", "s", "ms", "us", "i"):
            hint += "; for local times that are stored in UTC, name the zone in `table.time_zone`"
        if closed := Frequency.parse(frequency).closed_weekdays:
            hint = f"remove rows on {format_weekdays(closed)}, correct their times, or train with the frequency 1d"
        self.sentences.append(
            f"time column {name!r} is off the {frequency} grid of its series in {format_count(len(rows), 'row')} "
            f"of {format_count(len(np.unique(series)), 'series')}: {list_examples(map(describe, rows), len(rows))}\n"
            f"Hint: {hint}"
        )

    def duplicates(
        self, time: str, ids: Sequence[str], examples: Iterable[str], count: int, *, clock_change: str | None = None
    ) -> None:
        keys = join_words([repr(name) for name in (*ids, time)])
        hint = "keep one row per step, or name the id column with `id`"
        if ids:
            example = f"`id: [{', '.join(ids)}, ...]`"
            hint = f"keep one row per step, or name the other columns that tell series apart too, such as {example}"
        if clock_change is not None:
            hint = clock_change_hint(clock_change)
        self.sentences.append(
            f"columns {keys} hold the same values in more than one row, {format_count(count, 'time')}: "
            f"{list_examples(examples, count)}\nHint: {hint}"
        )

    def varying_static(self, name: str, examples: Iterable[str], count: int) -> None:
        self.sentences.append(
            f"static column {name!r} changes within {format_count(count, 'series')}: {list_examples(examples, count)}\n"
            f"Hint: declare {name!r} as observed or known"
        )

    def no_target_values(self, targets: Sequence[str], series: Sequence[object]) -> None:
        names, count = ", ".join(map(repr, targets)), len(series)
        self.sentences.append(
            f"target {names} has no value at all in {format_count(count, 'series')}: "
            f"{list_examples(map(repr, series), count)}\nHint: remove the rows of these series"
        )

    def absurd_gaps(self, frequency: str, rows: int, filled: int, worst: object, length: int) -> None:
        self.sentences.append(
            f"frequency {frequency} would fill {format_count(rows, 'row')} up to {filled:,}, "
            f"most of them in series {worst!r} ({length:,} steps from its first to its last row)\n"
            "Hint: the frequency is probably wrong, or one timestamp is"
        )

    def unknown_series(self, names: Sequence[str], series: Sequence[str]) -> None:
        kind = "column" if len(names) == 1 else "columns"
        self.sentences.append(
            f"id {kind} {join_words([repr(name) for name in names])} of the future table has "
            f"{format_count(len(series), 'series')} that are not in the "
            f"data: {list_examples(map(repr, series), len(series))}\n"
            "Hint: remove these rows, or add rows of these series to the data: their history, or one row with an empty "
            "target where they have none"
        )

    def _format_cell(self, text: pl.Series, row: int) -> str:
        return f"{text[row]!r} in row {row + self.offset}"
