"""Collect the problems of a table, so that one error reports all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fusecast.errors import DataError
from fusecast.errors.base import did_you_mean, format_count, list_examples

PLAIN_NUMBERS_HINT = (
    "write plain numbers such as 1234.5, without units or thousands separators, and leave the cell empty where a value "
    "is missing"
)


class Issues:
    """Problems of a table, one sentence each. Rows are counted from 0, as in pandas and polars.

    `offset` is the number of rows before the rows at hand, for tables that are read in batches.
    """

    def __init__(self, offset: int = 0) -> None:
        self.sentences: list[str] = []
        self.unread: set[str] = set()  # columns with a value that could not be read
        self.offset = offset

    def __bool__(self) -> bool:
        return bool(self.sentences)

    def __repr__(self) -> str:
        return f"Issues({len(self.sentences)} problems)"

    def raise_if_any(self) -> None:
        """Raise one DataError with all problems."""
        if self.sentences:
            raise DataError.from_issues(self.sentences)

    def add(self, sentence: str) -> None:
        """Add one problem."""
        self.sentences.append(sentence)

    def missing_column(self, name: str, available: Iterable[str]) -> None:
        self.add(f"column {name!r} is not in the table\n{did_you_mean(name, available)}")

    def not_a_number(self, name: str, value: str, row: int, count: int) -> None:
        self.unread.add(name)
        cell = f"{value!r} in row {row + self.offset}"
        self.add(
            f"column {name!r} is real but holds text: {list_examples([cell], count)}\n"
            f"Hint: {PLAIN_NUMBERS_HINT}; declare a column of words as categorical, which a target cannot be"
        )

    def unreadable_type(self, name: str, dtype: object, expected: str) -> None:
        self.unread.add(name)
        self.add(f"column {name!r} has type {dtype}, which cannot be read as {expected}")

    def infinite(self, name: str, row: int, count: int) -> None:
        self.add(
            f"column {name!r} has {format_count(count, 'infinite value')}, the first in row {row + self.offset}\n"
            "Hint: leave the cell empty where a value is missing"
        )

    def null_key(self, name: str, use: str, row: int, count: int) -> None:
        self.add(
            f"{use} column {name!r} is empty in {format_count(count, 'row')}, the first is row {row + self.offset}"
        )

    def unreadable_time(self, name: str, value: str, row: int, why: str) -> None:
        self.add(
            f"time column {name!r} holds {value!r} in row {row + self.offset}, {why}\n"
            "Hint: write times as 2017-01-31 or 2017-01-31 13:30:00"
        )

    def ambiguous_dates(self, name: str, value: str, row: int) -> None:
        self.add(
            f"time column {name!r} can be read day first or month first: {value!r} in row {row + self.offset}\n"
            "Hint: write dates as 2017-01-31, or parse the column before passing the table"
        )

    def mixed_zones(self, name: str, first: str, other: str, row: int) -> None:
        self.add(
            f"time column {name!r} mixes time zones: {first!r} in row 0, {other!r} in row {row + self.offset}\n"
            "Hint: set the zone to read them in with `time_zone`, such as --set table.time_zone=Europe/Berlin, "
            "or write all times in one zone"
        )

    def wrong_time_kind(self, name: str, dtype: object, expected: str) -> None:
        self.add(f"time column {name!r} holds {dtype}, but {expected}")

    def nonexistent_times(self, name: str, zone: str, row: int, count: int) -> None:
        self.add(
            f"time column {name!r} has {format_count(count, 'time')} that zone {zone} skips or repeats, "
            f"the first in row {row + self.offset}\nHint: write the times with their offset, or in UTC"
        )

    def off_grid(self, name: str, frequency: str, examples: Sequence[str], rows: int, series: int) -> None:
        self.add(
            f"time column {name!r} is off the {frequency} grid of its series in {format_count(rows, 'row')} "
            f"of {format_count(series, 'series')}: {list_examples(examples, rows)}\n"
            "Hint: set another `frequency`, or correct these rows"
        )

    def duplicates(
        self, time: str, id_: str | None, examples: Sequence[str], count: int, *, clock_change: bool = False
    ) -> None:
        keys = f"{id_!r} and {time!r}" if id_ is not None else repr(time)
        hint = "keep one row per step" if id_ is not None else "keep one row per step, or name the id column with `id`"
        if clock_change:
            hint += "; when daylight saving time ends, an hour occurs twice: write times with their offset, or in UTC"
        self.add(
            f"columns {keys} hold the same values in more than one row, {format_count(count, 'time')}: "
            f"{list_examples(examples, count)}\nHint: {hint}"
        )

    def varying_static(self, name: str, examples: Sequence[str], count: int) -> None:
        self.add(
            f"static column {name!r} changes within {format_count(count, 'series')}: {list_examples(examples, count)}\n"
            f"Hint: declare {name!r} as observed or known"
        )

    def no_target_values(self, targets: Sequence[str], examples: Sequence[str], count: int) -> None:
        names = ", ".join(map(repr, targets))
        self.add(
            f"target {names} has no value at all in {format_count(count, 'series')}: {list_examples(examples, count)}\n"
            "Hint: remove the rows of these series"
        )

    def absurd_gaps(self, frequency: str, rows: int, filled: int, worst: str, length: int) -> None:
        self.add(
            f"frequency {frequency} would fill {format_count(rows, 'row')} up to {filled:,}, "
            f"most of them in series {worst} ({length:,} steps from its first to its last row)\n"
            "Hint: the frequency is probably wrong, or one timestamp is"
        )

    def unknown_series(self, name: str, examples: Sequence[str], count: int) -> None:
        self.add(
            f"id column {name!r} of the future table has {format_count(count, 'series')} that are not in the data: "
            f"{list_examples(examples, count)}\nHint: remove these rows, or add the history of these series"
        )
