from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from fusecast.errors.base import FusecastError, did_you_mean, some_of


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
    def not_utf8(cls, path: object) -> Self:
        return cls(f"file {path} is not written in UTF-8\nHint: save it again as CSV UTF-8")

    @classmethod
    def ragged(cls, path: object, line: int, cells: int, width: int, separator: str) -> Self:
        return cls(
            f"line {line} of file {path} has {cells} cells, and the header {width}\n"
            f"Hint: put cells that hold {separator!r} in quotes; write numbers without thousands separators"
        )

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
    def zone_of_its_own(cls, time: str, zone: str) -> Self:
        return cls(
            f"times in {time!r} are in zone {zone}, and those that the model was fitted on have no zone\n"
            "Hint: give times as then, without a zone: hours of another clock would be taken for the model's"
        )

    @classmethod
    def other_spacing(cls, frequency: str, apart: int, then: int) -> Self:
        return cls(
            f"neighbouring rows of this table lie {apart} steps of {frequency} apart or more, "
            f"and those that the model was fitted on {then}\n"
            "Hint: give rows as often as then; a model for other steps needs a fit of its own"
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
    def future_column_missing(cls, column: str, columns: Collection[str], horizon: int, series: int) -> Self:
        return cls(
            f"known column {column!r} lacks values in the {horizon} steps after the cutoff for {series} series: the "
            f"future table has no column of that name\n{did_you_mean(column, columns)}"
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
    def not_for_head(
        cls, head: str, target: str, what: str, series: Collection[object], row: int, value: float, instead: str
    ) -> Self:
        return cls(
            f"target {target!r} has {what}, which network.head={head!r} cannot forecast, in {len(series)} series: "
            f"{some_of(series)}; the first is {value:g} in row {row} of {next(iter(series))!r}\n"
            f"Hint: use network.head={instead}, or mend the rows"
        )

    @classmethod
    def nothing_to_evaluate(cls, horizon: int) -> Self:
        return cls(
            f"no window of {horizon} steps lies in the span to evaluate\n"
            "Hint: give more rows to the test span, or shorten the horizon"
        )

    @classmethod
    def no_origin(cls, horizon: int, span: str, start: str | None, end: str | None) -> Self:
        asked = f"from {start or 'the start of the test span'} to {end or 'the end of the table'}"
        return cls(
            f"no window of {horizon} steps lies in the span to judge, {asked}; the table holds {span}\n"
            "Hint: choose an earlier `start` or a later `end`, or give a table whose test span holds a whole horizon"
        )

    @classmethod
    def series_without_window(cls, series: object, length: int, horizon: int) -> Self:
        return cls(
            f"series {str(series)!r} has {length} steps, too few to forecast the last {horizon} of them\n"
            "Hint: give `future`, the known columns of the steps after its last row, so that these are forecast"
        )

    @classmethod
    def no_matrix(cls, shape: Sequence[int], kind: str) -> Self:
        return cls(
            f"an array must have rows (steps) and columns (features) of numbers, not shape {tuple(shape)} of {kind}\n"
            "Hint: give a 2-D array, or a DataFrame"
        )

    @classmethod
    def no_features(cls, keys: Collection[str]) -> Self:
        return cls(f"the table has no feature column\nHint: these are not features: {some_of(keys)}")

    @classmethod
    def not_numeric(cls, column: str, kind: str) -> Self:
        return cls(
            f"column {column!r} is not numeric but {kind}\n"
            f"Hint: drop it, or encode it as numbers; series are told apart by a column 'seq_ix' or 'unique_id'"
        )

    @classmethod
    def values_missing(cls, counts: Mapping[str, int], first_row: int) -> Self:
        columns = ", ".join(f"{name!r} ({count})" for name, count in sorted(counts.items())[:5])
        more = f" and {len(counts) - 5} columns more" if len(counts) > 5 else ""
        return cls(
            f"values are missing or infinite in {columns}{more}; the first is in row {first_row} (sorted by sequence "
            "and step)\nHint: fill or drop them; `fusecast fit` understands missing values"
        )

    @classmethod
    def step_twice(cls, column: str, count: int, first_row: int) -> Self:
        return cls(
            f"{count} steps of {column!r} come twice in their sequence, the first in row {first_row} (sorted by "
            "sequence and step)\nHint: keep one row a step, or name the sequences in a column 'seq_ix' or 'unique_id'"
        )

    @classmethod
    def no_sequence(cls, column: str, row: int) -> Self:
        return cls(
            f"column {column!r} is empty in row {row}, so that its sequence has no name\nHint: name it, or drop the row"
        )

    @classmethod
    def no_flag(cls, column: str, value: str, row: int) -> Self:
        return cls(
            f"column {column!r} holds {value!r} in row {row}, neither yes nor no\n"
            "Hint: write true and false, or 1 and 0"
        )

    @classmethod
    def no_steps(cls, column: str, first: str) -> Self:
        return cls(f"column {column!r} holds neither whole numbers nor times, but such as {first!r}")

    @classmethod
    def windows_do_not_fit(cls, window_size: int, longest: int, needed: int) -> Self:
        rows = "" if needed < 0 else f", and {needed} rows are marked in 'need_prediction'"
        return cls(
            f"no training, validation and test windows of {window_size} steps and the one after them can be made: the "
            f"longest unbroken sequence has {longest} rows{rows}\nHint: shorten window_size, or give more rows"
        )

    @classmethod
    def nothing_in_loader(cls) -> Self:
        return cls("the loader gives no batch, so there is nothing to forecast")

    @classmethod
    def too_few_for_dependence(cls, windows: int, needed: int) -> Self:
        return cls(
            f"{windows} windows of the validation span have all their actuals, and {needed} are needed to learn how "
            "the steps of a forecast hang together\n"
            "Hint: keep more of the series for validation, or sample with method='independent'"
        )

    @classmethod
    def too_few_to_calibrate(cls, actuals: int, needed: int) -> Self:
        return cls(
            f"the validation span has {actuals} known actuals at some step ahead; {needed} are needed to calibrate\n"
            "Hint: give a table that holds all of that span, or keep more of the series for it in the fit"
        )
