from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Self

from fusecast.errors.base import FusecastError, some_of


class DataError(FusecastError):
    """The rows of a table break a promise that the schema makes."""

    @classmethod
    def from_problems(cls, problems: Sequence[str]) -> Self:
        if len(problems) == 1:
            return cls(problems[0])
        return cls("\n".join((f"the table has {len(problems)} problems", *(f"- {each}" for each in problems))))

    @classmethod
    def no_file(cls, path: object) -> Self:
        return cls(f"file {path} does not exist\nHint: check the path; it is relative to the working directory")

    @classmethod
    def unreadable_file(cls, path: object, reason: str) -> Self:
        return cls(f"file {path} cannot be read as a table: {reason}")

    @classmethod
    def unsupported_source(cls, what: object, supported: Sequence[str]) -> Self:
        return cls(f"{what} cannot be read as a table\nHint: supported are {', '.join(supported)}")

    @classmethod
    def duplicate_columns(cls, names: Collection[str]) -> Self:
        return cls(f"the table has more than one column named {some_of(names)}\nHint: give each column its own name")

    @classmethod
    def not_sorted(cls, path: object, id_: str | None, time: str, row: int) -> Self:
        keys = [name for name in (id_, time) if name is not None]
        return cls(
            f"file {path} is not sorted by {' and '.join(map(repr, keys))}: row {row} comes too late\n"
            f"Hint: sort it once, such as pl.scan_parquet(path).sort({keys}).sink_parquet(sorted_path)"
        )

    @classmethod
    def future_values_missing(cls, column: str, series: Collection[object], horizon: int, first: object) -> Self:
        return cls(
            f"known column {column!r} lacks values in the {horizon} steps after the cutoff "
            f"for {len(series)} series: {some_of(series)}; the first at {first}\n"
            f"Hint: supply the future values, or move {column!r} to `observed` in the schema "
            f"if they cannot be known when the forecast is made"
        )

    @classmethod
    def empty_table(cls, where: str = "the table") -> Self:
        return cls(f"{where} has no rows\nHint: give at least one row a series and step")

    @classmethod
    def nothing_to_train_on(cls, horizon: int, longest: int) -> Self:
        return cls(
            f"no window fits into the training span: a window needs {horizon} steps to forecast and one before them, "
            f"and the longest series has {longest} rows in all\n"
            "Hint: shorten the horizon, or give less to validation and test"
        )

    @classmethod
    def target_without_values(cls, target: str) -> Self:
        return cls(
            f"target {target!r} has no value before the training cutoffs\n"
            "Hint: check the column, and that the training span is not empty"
        )

    @classmethod
    def negative_for_log(cls, target: str, series: Collection[object], row: int, value: float) -> Self:
        return cls(
            f"target {target!r} has negative values, which log1p cannot take, in {len(series)} series: "
            f"{some_of(series)}; the first is {value:g} in row {row} of {next(iter(series))!r}\n"
            "Hint: use target_transform='none', or mend the rows"
        )

    @classmethod
    def nothing_to_evaluate(cls, horizon: int) -> Self:
        return cls(
            f"no window of {horizon} steps lies in the span to evaluate\n"
            "Hint: give more rows to the test span, or shorten the horizon"
        )
