from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Self

from fusecast.errors.base import FusecastError, did_you_mean, some_of


class SchemaError(FusecastError):
    """The description of a table contradicts itself or the table."""

    @classmethod
    def unknown_column(cls, name: str, available: Iterable[str], where: str = "the table") -> Self:
        return cls(f"column {name!r} is not in {where}\n{did_you_mean(name, available)}")

    @classmethod
    def column_twice(cls, name: str, roles: Sequence[str]) -> Self:
        return cls(f"column {name!r} has more than one role: {', '.join(roles)}\nHint: give each column one role")

    @classmethod
    def no_target(cls) -> Self:
        return cls("no target column is declared\nHint: name the column to forecast with `target`")

    @classmethod
    def bad_frequency(cls, frequency: str) -> Self:
        return cls(
            f"frequency {frequency!r} is not understood\n"
            "Hint: a whole number and a unit, such as 15m, 1h, 1d, 1w, 1mo, 1q, 1y, or 1i for integer steps"
        )

    @classmethod
    def no_frequency(cls, time: str, reason: str) -> Self:
        return cls(
            f"the frequency of time column {time!r} cannot be told: {reason}\nHint: give `frequency`, such as 1h"
        )

    @classmethod
    def numbers_and_text(cls, name: str, value: str, row: int) -> Self:
        return cls(
            f"column {name!r} is text although nearly all its cells are numbers: it holds {value!r} in row {row}\n"
            f"Hint: write plain numbers such as 1234.5, and nothing where none is; or name {name!r} in `categorical`"
        )

    @classmethod
    def unknown_zone(cls, name: str, available: Iterable[str]) -> Self:
        examples = "Hint: zones have names such as Europe/Berlin, America/New_York or UTC"
        return cls(f"there is no time zone {name!r}\n{did_you_mean(name, available) if '/' in name else examples}")

    @classmethod
    def several_series(cls, time: str, candidates: Sequence[str]) -> Self:
        hint = f"name the series with `id`, perhaps {some_of(candidates)}" if candidates else "keep one row a step"
        return cls(f"no id column is named, but times in {time!r} come more than once\nHint: {hint}")

    @classmethod
    def not_declared(cls, name: str, declared: Collection[str]) -> Self:
        return cls(
            f"column {name!r} is called categorical but has no role\n"
            f"Hint: name it in `static`, `known` or `observed`; these have a role: {some_of(declared, 20)}"
        )

    @classmethod
    def categorical_target(cls, name: str) -> Self:
        return cls(f"target {name!r} cannot be categorical: forecasts are numbers\nHint: choose a numeric column")

    @classmethod
    def business_days(cls, frequency: str) -> Self:
        return cls(
            f"frequency {frequency!r} counts business days, which have no fixed step\n"
            "Hint: use 1d, weekends become missing values; or number the rows of each series and use 1i"
        )

    @classmethod
    def reserved_name(cls, name: str, use: str) -> Self:
        return cls(f"column {name!r} has the name of {use}\nHint: rename the column, or leave that out")

    @classmethod
    def reserved_key(cls, name: str) -> Self:
        return cls(
            f"the id or time column cannot be called {name!r}: tables of forecasts have a column of that name\n"
            "Hint: rename it in the table"
        )

    @classmethod
    def not_as_fitted(cls, differences: Sequence[str]) -> Self:
        return cls("the table is not described as the one fitted on: " + "; ".join(differences))
