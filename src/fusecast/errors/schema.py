from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Self

from fusecast.errors.base import FusecastError, did_you_mean, some_of


class SchemaError(FusecastError):
    """A schema contradicts itself or the table."""

    @classmethod
    def unknown_column(cls, name: str, available: Iterable[str], where: str = "the table") -> Self:
        return cls(f"column {name!r} is not in {where}\n{did_you_mean(name, available)}")

    @classmethod
    def column_twice(cls, name: str, roles: Sequence[str]) -> Self:
        return cls(f"column {name!r} has more than one role: {', '.join(roles)}\nHint: declare one role per column")

    @classmethod
    def no_target(cls) -> Self:
        return cls("no target column is declared\nHint: name the column to forecast with `target`")

    @classmethod
    def bad_frequency(cls, frequency: str) -> Self:
        return cls(
            f"frequency {frequency!r} is not understood\n"
            "Hint: a whole number and a unit, such as 100ms, 15m, 1h, 1d, 1w, 1mo, 1q, 1y, or 1i for integer steps"
        )

    @classmethod
    def no_frequency(cls, time: str, reason: str) -> Self:
        return cls(
            f"the frequency of time column {time!r} cannot be inferred: {reason}\nHint: set `frequency`, such as 1h"
        )

    @classmethod
    def no_months(cls, time: str, reason: str) -> Self:
        return cls(
            f"the frequency of time column {time!r} cannot be inferred: {reason}\n"
            "Hint: where each row is a month, write its time as 2017-01, without the day"
        )

    @classmethod
    def mostly_empty(cls, time: str, frequency: str, rows: int, steps: int, span: str) -> Self:
        return cls(
            f"time column {time!r} is read as steps of {frequency}, and most of them have no row: there are {rows:,} "
            f"rows for {steps:,} steps, {span} in the longest series\n"
            "Hint: look for dates whose day and month are exchanged, and write them as 2017-01-31; where steps without "
            f"a row are right, name the frequency: `frequency`, or --frequency {frequency}"
        )

    @classmethod
    def numbers_and_text(cls, name: str, value: str, row: int) -> Self:
        return cls(
            f"column {name!r} is text although nearly all its cells are numbers: it holds {value!r} in row {row}\n"
            "Hint: write plain numbers such as 1234.5, and leave the cell empty where a value is missing; "
            f"or list {name!r} in `categorical`"
        )

    @classmethod
    def unknown_zone(cls, name: str, available: Iterable[str]) -> Self:
        examples = "Hint: zones have names such as Europe/Berlin, America/New_York or UTC"
        return cls(f"there is no time zone {name!r}\n{did_you_mean(name, available) if '/' in name else examples}")

    @classmethod
    def several_series(cls, time: str, candidates: Sequence[str], clock_change: str | None = None) -> Self:
        hint = f"name the id column with `id`, perhaps {some_of(candidates)}" if candidates else "keep one row per step"
        if clock_change is not None:
            hint = clock_change_hint(clock_change)
        return cls(f"no id column is declared, but times in {time!r} occur more than once\nHint: {hint}")

    @classmethod
    def not_declared(cls, name: str, declared: Collection[str]) -> Self:
        return cls(
            f"column {name!r} is declared categorical but has no role\n"
            f"Hint: list it in `static`, `known` or `observed`; columns with a role are {some_of(declared, 20)}"
        )

    @classmethod
    def categorical_target(cls, name: str) -> Self:
        return cls(f"target {name!r} cannot be categorical: forecasts are numbers\nHint: choose a numeric column")

    @classmethod
    def categorical_weight(cls, name: str) -> Self:
        return cls(f"column {name!r} is categorical, and cannot say how much rows count\nHint: weights are numbers")

    @classmethod
    def several_business_days(cls, frequency: str) -> Self:
        return cls(
            f"frequency {frequency!r} has several business days in a step\nHint: use 1b, one business day a step, or 1w"
        )

    @classmethod
    def reserved_name(cls, name: str, use: str) -> Self:
        return cls(f"column {name!r} has the name of {use}\nHint: rename the column, or omit the other")

    @classmethod
    def differs_from_fitted(cls, differences: Sequence[str]) -> Self:
        return cls("the schema differs from that of the fitted table: " + "; ".join(differences))


def clock_change_hint(zone: str) -> str:
    """Return what to do about times that occur twice, all of them when daylight saving time ends in a zone."""
    return (
        f"these times occur twice where daylight saving time ends then, as in {zone}: name the zone of the table, such "
        f"as --set table.time_zone={zone}, and the rows are told apart by their order"
    )
