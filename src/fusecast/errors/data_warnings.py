from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from fusecast.errors.base import FusecastWarning, format_count, join_words, list_examples, some_of


def describe_levels(column: str, count: int, total: int, unknown: Collection[str], known: Collection[str]) -> str:
    """Return what is wrong with a column that has `count` of `total` cells with `unknown` values, in a clause."""
    return (
        f"categorical column {column!r} has values that the model has never seen, in {count:,} of {total:,} cells: "
        f"{some_of(unknown)}; it knows {some_of(known)}"
    )


class DataWarning(FusecastWarning):
    """Something in the rows of a table that is no error, and that a user has to know to judge the result."""

    @classmethod
    def future_values_masked(
        cls, missing: Mapping[str, tuple[int, int, int]], horizon: int, never_missing: Sequence[str]
    ) -> Self:
        """`missing` are the missing values of columns, the series that lack some, and those that lack all."""
        counts = []
        for name, (values, lacking, empty) in missing.items():
            text = f"{name!r} {format_count(values, 'value')} of {format_count(lacking, 'series')}"
            counts.append(f"{text} ({empty:,} without any)" if empty else text)
        untrained = ""
        if never_missing:
            untrained = (
                f"; the rows before have every value of {some_of(never_missing)}, so the network may not have learned "
                "to forecast without them"
            )
        return cls(
            f"known columns lack values in the {format_count(horizon, 'step')} to forecast, which are masked like "
            f"values missing in the past: {list_examples(counts, len(counts))}{untrained}"
        )

    @classmethod
    def function_of_calendar(cls, column: str, fact: str, feature: str | None) -> Self:
        instead = f", or leave it out: the calendar feature {feature!r} says the same" if feature else ""
        return cls(
            f"observed column {column!r} is a function of {fact} in every row, so that its future is known\n"
            f"Hint: declare it in `known` (--known {column}), and write into the future table what it is at {fact} of "
            f"each step{instead}"
        )

    @classmethod
    def series_without_plan(cls, series: Collection[object]) -> Self:
        return cls(
            f"{format_count(len(series), 'series')} without rows of the steps to forecast, and so without forecasts: "
            f"{some_of(series)}\nHint: add these rows to the table, or pass the known columns of all series apart"
        )

    @classmethod
    def future_not_read(cls) -> Self:
        return cls(
            "the future table is not read: the model has no known columns, and forecasts the steps after the last row "
            "of its data\nHint: to forecast from newer rows, give the table as `data` (--data)"
        )

    @classmethod
    def ids_alike(cls, column: str, alike: Sequence[Sequence[str]]) -> Self:
        texts = list_examples([join_words([*map(repr, texts)]) for texts in alike], len(alike))
        return cls(
            f"id column {column!r} holds the same number in different spellings, which are different series: {texts}\n"
            "Hint: write every id in one way"
        )

    @classmethod
    def levels_unknown(
        cls, column: str, count: int, total: int, unknown: Collection[str], known: Collection[str]
    ) -> Self:
        return cls(
            f"{describe_levels(column, count, total, unknown, known)}: the forecasts take them for unknown\n"
            "Hint: correct those that are spelled in another way"
        )

    @classmethod
    def numbers_as_text(cls, numbers: Collection[str], codes: Collection[str]) -> Self:
        kinds = {"numbers": numbers, "categories, since zeros pad them": codes}
        texts = [f"{some_of(names)} as {kind}" for kind, names in kinds.items() if names]
        return cls(
            f"columns hold numbers written as text, which are read: {'; '.join(texts)}\n"
            "Hint: list those that are codes or names in `categorical`"
        )

    @classmethod
    def nothing_to_score(cls, targets: Sequence[str]) -> Self:
        return cls(
            f"no test row has a value of {join_words([repr(name) for name in targets])}, so that there are no scores\n"
            "Hint: evaluate on a newer table, or fit with a `split.test`"
        )

    @classmethod
    def short_history(cls, series: Collection[object], lookback: int) -> Self:
        return cls(
            f"{format_count(len(series), 'series')} of the training have fewer rows before the forecast in this table "
            f"than the model looks back, {lookback}: their forecasts may be far off and too sure: {some_of(series)}\n"
            f"Hint: give the last {lookback} rows of each series at least, not the new ones alone"
        )

    @classmethod
    def series_without_history(
        cls,
        trained: Collection[object],
        similar: Collection[object],
        pooled: Collection[object],
        statics: Collection[str],
    ) -> Self:
        levels = {
            "the level that they had in the training": trained,
            f"the level of the series of the training most like them in {some_of(statics)}": similar,
            "the level of all series of the training together": pooled,
        }
        texts = [f"{len(series):,} at {level}: {some_of(series)}" for level, series in levels.items() if series]
        count = format_count(len(trained) + len(similar) + len(pooled), "series")
        hint = ""
        if pooled:
            hint = "\nHint: their first known values, or static columns that say how large a series is, would tell more"
        return cls(f"{count} without any known value of the target, forecast {'; '.join(texts)}{hint}")

    @classmethod
    def windows_across_gaps(cls, column: str, reason: str) -> Self:
        return cls(
            f"windows may run across gaps in time: {reason}\n"
            f"Hint: number the rows of each sequence in a column 'step_in_seq' in place of {column!r}; windows end "
            "where a number is left out"
        )

    @classmethod
    def below_lower_bound(cls, target: str, bound: float, count: int, total: int) -> Self:
        return cls(
            f"{count:,} of {format_count(total, 'value')} of {target!r} lie below {bound:g}, the lower bound of its "
            "forecasts\nHint: fit with features.lower_bound=none, or a lower number, where these are to be forecast"
        )

    @classmethod
    def without_training_values(cls, columns: Collection[str]) -> Self:
        return cls(
            f"no training row has a value of {some_of(columns)}: the model does not use later values\n"
            "Hint: make validation and test smaller, or leave the column out"
        )


class DataNote(DataWarning):
    """What a table holds and how it was understood, in a line."""

    @classmethod
    def of_facts(cls, facts: Sequence[str]) -> Self:
        return cls(" · ".join(facts))

    @classmethod
    def ids_spelled_otherwise(cls, column: str, known: Mapping[str, str]) -> Self:
        texts = list_examples([f"{text!r} is {meant!r}" for text, meant in known.items()], len(known))
        return cls(f"ids in {column!r} are written otherwise than in the training, and taken for the same: {texts}")

    @classmethod
    def targets_not_read(cls, target: str, count: int) -> Self:
        return cls(
            f"the future table holds {format_count(count, 'value')} of {target!r}, which are not read, as only its "
            "known columns are; to forecast from these rows, give the table as `data` (--data)"
        )

    @classmethod
    def unix_times_as_steps(cls, column: str, unit: str, frequency: str) -> Self:
        return cls(
            f"time column {column!r} holds whole numbers, which are taken as steps of {frequency}; where they are "
            f"{unit} since 1970, convert them to times first (polars: pl.from_epoch), which also have a calendar"
        )

    @classmethod
    def years_as_steps(cls, column: str, first: object, last: object, frequency: str) -> Self:
        return cls(
            f"time column {column!r} holds whole numbers from {first} to {last}, which are taken as steps of "
            f"{frequency}; where they are years, the frequency 1y (--frequency 1y) reads them as dates"
        )
