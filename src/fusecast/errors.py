"""Everything that fusecast raises on purpose.

FusecastError
├── SchemaError     the description of a table contradicts itself or the table
├── DataError       the rows of a table break a promise that the schema makes
├── ConfigError     sizes or options that cannot work, alone or together
├── TrainingError   training cannot start or go on
└── ArtifactError   a saved file is missing, foreign, truncated or unsafe

Each class owns its wording: a message says what is wrong, where (column, series, row), and what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Self


def some_of(names: Collection[object], limit: int = 5) -> str:
    """Quote the first few of a collection, and count the rest."""
    shown = ", ".join(repr(name) for name in list(names)[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def did_you_mean(name: str, available: Iterable[str]) -> str:
    """Give a hint line naming the closest spelling, or the names there are."""
    from difflib import get_close_matches

    names = list(available)
    close = get_close_matches(name, names, n=1)
    if close:
        return f"Hint: did you mean {close[0]!r}?"
    return f"Hint: there are {some_of(sorted(names), 20)}"


class FusecastError(Exception):
    """Base of every error that a user of fusecast can cause and mend."""


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


class DataError(FusecastError):
    """The rows of a table break a promise that the schema makes."""


class ConfigError(FusecastError):
    """Sizes or options that cannot work, alone or together."""

    @classmethod
    def not_positive(cls, name: str, value: object) -> Self:
        return cls(f"{name} must be at least 1, not {value}")

    @classmethod
    def out_of_range(cls, name: str, value: object, allowed: str) -> Self:
        return cls(f"{name} must lie in {allowed}, not {value}")

    @classmethod
    def not_one_of(cls, name: str, value: object, allowed: Iterable[str]) -> Self:
        return cls(f"{name} cannot be {value!r}\n{did_you_mean(str(value), allowed)}")

    @classmethod
    def unknown_option(cls, name: str, available: Iterable[str]) -> Self:
        return cls(f"there is no option {name!r}\n{did_you_mean(name, available)}")

    @classmethod
    def invalid_options(cls, problems: Sequence[tuple[str, str]]) -> Self:
        return cls("\n".join(f"option {name}: {problem}" for name, problem in problems))

    @classmethod
    def unreadable(cls, path: object, reason: str) -> Self:
        return cls(f"configuration {path} cannot be read: {reason}")

    @classmethod
    def heads_do_not_divide(cls, hidden_size: int, num_heads: int) -> Self:
        fits = [n for n in range(1, min(hidden_size, 16) + 1) if hidden_size % n == 0]
        return cls(
            f"hidden size {hidden_size} cannot be shared by {num_heads} attention heads\n"
            f"Hint: with this hidden size, heads can be {', '.join(map(str, fits))}"
        )

    @classmethod
    def bad_quantiles(cls, levels: Sequence[float]) -> Self:
        return cls(f"quantiles must increase and lie between 0 and 1, not {list(levels)}\nHint: for example 0.1,0.5,0.9")

    @classmethod
    def targets_not_observed(cls, num_targets: int, observed_reals: int) -> Self:
        return cls(f"{num_targets} targets cannot be among {observed_reals} observed reals: targets are observed first")


class TrainingError(FusecastError):
    """Training cannot start or go on."""


class ArtifactError(FusecastError):
    """A saved file is missing, foreign, truncated or unsafe."""
