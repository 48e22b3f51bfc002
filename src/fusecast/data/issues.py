"""Problems: what is wrong with a table, collected so that all of it can be said at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fusecast.errors import DataError
from fusecast.errors.base import did_you_mean

EXAMPLES = 5


PLAIN_NUMBERS = "write plain numbers such as 1234.5, without units or thousands separators, and nothing where none is"


def counted(number: int, noun: str) -> str:
    """Give a count with its noun: 1 row, 2 rows."""
    plural = noun if number == 1 or noun == "series" else f"{noun}s"
    return f"{number:,} {plural}"


def listed(examples: Sequence[str], total: int) -> str:
    """Join the first few examples and count the rest."""
    shown = ", ".join(examples[:EXAMPLES])
    rest = total - min(len(examples), EXAMPLES)
    return f"{shown} and {rest:,} more" if rest > 0 else shown


class Issues:
    """Sentences about a table. Rows are counted from 0, as pandas and polars do.

    `offset` is the number of rows before those that are looked at, for tables that come in batches.
    """

    def __init__(self, offset: int = 0) -> None:
        self.sentences: list[str] = []
        self.unread: set[str] = set()  # columns of which some value could not be read
        self.offset = offset

    def __bool__(self) -> bool:
        return bool(self.sentences)

    def raise_if_any(self) -> None:
        """Raise one DataError with all that was found."""
        if self.sentences:
            raise DataError.from_problems(self.sentences)

    def add(self, sentence: str) -> None:
        """Note one problem."""
        self.sentences.append(sentence)

    def missing_column(self, name: str, available: Iterable[str]) -> None:
        self.add(f"column {name!r} is not in the table\n{did_you_mean(name, available)}")

    def not_a_number(self, name: str, value: str, row: int, count: int) -> None:
        self.unread.add(name)
        rest = f" and {count - 1:,} more" if count > 1 else ""
        self.add(
            f"column {name!r} is real but holds text: {value!r} in row {row + self.offset}{rest}\n"
            f"Hint: {PLAIN_NUMBERS}; a column of words is declared categorical, which a target cannot be"
        )

    def unreadable_type(self, name: str, dtype: object, wanted: str) -> None:
        self.unread.add(name)
        self.add(f"column {name!r} has type {dtype}, which cannot be read as {wanted}")

    def infinite(self, name: str, row: int, count: int) -> None:
        self.add(
            f"column {name!r} has {counted(count, 'infinite value')}, the first in row {row + self.offset}\n"
            "Hint: leave the cell empty where a value is missing"
        )

    def null_key(self, name: str, use: str, row: int, count: int) -> None:
        self.add(f"{use} column {name!r} is empty in {counted(count, 'row')}, the first is row {row + self.offset}")

    def unreadable_time(self, name: str, value: str, row: int, why: str) -> None:
        self.add(
            f"time column {name!r} holds {value!r} in row {row + self.offset}, {why}\n"
            "Hint: write times as 2017-01-31 or 2017-01-31 13:30:00"
        )

    def ambiguous_dates(self, name: str, value: str, row: int) -> None:
        self.add(
            f"time column {name!r} can be read day first or month first: {value!r} in row {row + self.offset}\n"
            "Hint: write dates as 2017-01-31, or parse the column before you give the table"
        )

    def mixed_zones(self, name: str, first: str, other: str, row: int) -> None:
        self.add(
            f"time column {name!r} mixes time zones: {first!r} in row 0, {other!r} in row {row + self.offset}\n"
            "Hint: name the zone to read them in with `time_zone`, such as --set table.time_zone=Europe/Berlin, "
            "or write all times in one zone"
        )

    def wrong_time_kind(self, name: str, dtype: object, expected: str) -> None:
        self.add(f"time column {name!r} holds {dtype}, but {expected}")

    def clock_change(self, name: str, zone: str, row: int, count: int) -> None:
        self.add(
            f"time column {name!r} has {counted(count, 'time')} that zone {zone} does not have or has twice, "
            f"the first in row {row + self.offset}\nHint: write the times with their offset, or in UTC"
        )

    def off_grid(self, name: str, frequency: str, examples: Sequence[str], rows: int, series: int) -> None:
        self.add(
            f"time column {name!r} leaves the {frequency} grid of its series in {counted(rows, 'row')} "
            f"of {counted(series, 'series')}: {listed(examples, rows)}\n"
            "Hint: give another `frequency`, or mend these rows"
        )

    def duplicates(
        self, time: str, id_: str | None, examples: Sequence[str], count: int, *, put_back: bool = False
    ) -> None:
        keys = f"{id_!r} and {time!r}" if id_ is not None else repr(time)
        hint = "keep one row a step" if id_ is not None else "keep one row a step, or name the series with `id`"
        if put_back:  # wall time without a zone
            hint += "; the hour that comes twice when clocks are put back needs times with their offset, or in UTC"
        self.add(
            f"columns {keys} hold the same values in more than one row, {counted(count, 'time')}: "
            f"{listed(examples, count)}\nHint: {hint}"
        )

    def varying_static(self, name: str, examples: Sequence[str], count: int) -> None:
        self.add(
            f"static column {name!r} changes within {counted(count, 'series')}: {listed(examples, count)}\n"
            f"Hint: declare {name!r} as observed or known"
        )

    def no_target_values(self, targets: Sequence[str], examples: Sequence[str], count: int) -> None:
        names = ", ".join(map(repr, targets))
        self.add(
            f"target {names} has no value at all in {counted(count, 'series')}: {listed(examples, count)}\n"
            "Hint: remove the rows of these series"
        )

    def absurd_gaps(self, frequency: str, rows: int, filled: int, worst: str, length: int) -> None:
        self.add(
            f"frequency {frequency} would fill {counted(rows, 'row')} up to {filled:,}, "
            f"most for series {worst} ({length:,} steps from its first to its last row)\n"
            "Hint: the frequency is probably wrong, or one time stamp is"
        )

    def unknown_series(self, name: str, examples: Sequence[str], count: int) -> None:
        self.add(
            f"id column {name!r} of the future table names {counted(count, 'series')} that the data do not have: "
            f"{listed(examples, count)}\nHint: remove these rows, or supply the history of these series"
        )
