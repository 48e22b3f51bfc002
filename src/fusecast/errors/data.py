from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Self

from fusecast.errors.base import (
    FusecastError,
    did_you_mean,
    format_count,
    join_words,
    list_examples,
    some_of,
)
from fusecast.errors.data_warnings import describe_levels

MAX_FAILURES = 20  # partitions whose failure is told in full


class DataError(FusecastError):
    """The rows of a table contradict its schema."""

    @classmethod
    def from_issues(cls, problems: Sequence[str]) -> Self:
        if len(problems) == 1:
            return cls(problems[0])
        return cls("\n".join((f"the table has {len(problems)} problems", *(f"- {problem}" for problem in problems))))

    @classmethod
    def levels_unknown(
        cls, column: str, count: int, total: int, unknown: Collection[str], known: Collection[str]
    ) -> Self:
        return cls(
            f"{describe_levels(column, count, total, unknown, known)}\n"
            "Hint: write the values as in the rows of the training; where one is really new, leave the cell empty, or "
            "write the value most like it"
        )

    @classmethod
    def ids_alike(cls, column: str, ids: Sequence[str], known: str) -> Self:
        return cls(
            f"id column {column!r} holds {join_words([*map(repr, ids)])}, and the training knows one such series, "
            f"{known!r}\nHint: write every id as in the training"
        )

    @classmethod
    def no_file(cls, path: object) -> Self:
        return cls(f"file {path} does not exist\nHint: check the path; it is relative to the working directory")

    @classmethod
    def no_weights(cls, column: str) -> Self:
        return cls(
            f"the model was trained with the weights in column {column!r}, which the table does not have\n"
            "Hint: to train on it, add the column; forecasts and scores need none"
        )

    @classmethod
    def wrong_weight(cls, column: str, series: str, row: int, time: str, value: float, count: int) -> Self:
        what = "no weight" if math.isnan(value) else f"the weight {value:g}"
        others = f", the first of {count:,} such rows" if count > 1 else ""
        return cls(
            f"column {column!r} holds {what} in row {row} of series {series!r}, at {time}{others}\n"
            "Hint: weights are finite numbers from 0 on, in every row with a target; 0 leaves the row out of training"
        )

    @classmethod
    def no_target(cls, targets: Sequence[str], split: str, rows: int) -> Self:
        return cls(
            f"none of the {format_count(rows, 'row')} of the {split} split has a value of "
            f"{join_words([repr(name) for name in targets])}\n"
            "Hint: change the split (`split.validation`, `split.test`) so that it has rows with values; 0 leaves it out"
        )

    @classmethod
    def weights_all_zero(cls, column: str, split: str, rows: int) -> Self:
        return cls(
            f"every weight in column {column!r} is 0 in the {format_count(rows, 'row')} of the {split} split of all "
            f"series: nothing would count there\nHint: give some of these rows a weight, or change the split "
            "(`split.validation`, `split.test`)"
        )

    @classmethod
    def unreadable_file(cls, path: object, reason: str) -> Self:
        return cls(f"file {path} cannot be read as a table: {reason}")

    @classmethod
    def no_reader_of_spreadsheets(cls, path: object) -> Self:
        return cls(
            f"spreadsheet {path} cannot be read without the library fastexcel\n"
            "Hint: pip install 'fusecast[excel]', or save it as CSV UTF-8"
        )

    @classmethod
    def not_utf8(cls, path: object) -> Self:
        return cls(f"file {path} is not written in UTF-8\nHint: save it again as CSV UTF-8")

    @classmethod
    def thousands_or_decimals(cls, path: object, column: str, cell: str, row: int) -> Self:
        plain = cell.strip().replace(".", "")
        return cls(
            f"column {column!r} of file {path} holds {cell!r} in row {row}, whose dot may separate thousands or "
            f"decimals, as all dots of the column may\nHint: write {plain}, or {cell.strip()}0 if it is a decimal"
        )

    @classmethod
    def ragged(cls, path: object, line: int, cells: int, width: int, separator: str) -> Self:
        return cls(
            f"line {line} of file {path} has {cells} cells, and the header has {width}\n"
            f"Hint: put cells that hold {separator!r} in quotes; write numbers without thousands separators"
        )

    @classmethod
    def unsupported_source(cls, what: object, supported: Sequence[str]) -> Self:
        return cls(f"{what} cannot be read as a table\nHint: supported are {', '.join(supported)}")

    @classmethod
    def duplicate_columns(cls, names: Collection[str]) -> Self:
        return cls(f"the table has more than one column named {some_of(names)}\nHint: rename one of them")

    @classmethod
    def no_parquet_files(cls, path: object) -> Self:
        return cls(f"folder {path} holds no file that ends in .parquet\nHint: name the folder that holds the table")

    @classmethod
    def differing_files(cls, one: object, other: object, difference: str) -> Self:
        return cls(
            f"{one} and {other} do not belong to one table: {difference}\n"
            "Hint: write all files of a folder with the same columns and types"
        )

    @classmethod
    def stream_changed(cls, path: object) -> Self:
        return cls(f"{path} has changed while it was read\nHint: run the command again when nothing writes to it")

    @classmethod
    def unexpected_time_zone(cls, time: str, zone: str) -> Self:
        return cls(
            f"times in {time!r} are in zone {zone}, and those of the fitted table have no zone\n"
            "Hint: pass times without a zone, in the zone of the fitted table, which is not recorded"
        )

    @classmethod
    def wider_spacing(cls, frequency: str, spacing: int, fitted: int) -> Self:
        return cls(
            f"neighbouring rows of this table are {spacing} steps of {frequency} apart or more, "
            f"and those of the fitted table {fitted}\n"
            "Hint: pass rows as frequent as those of the fitted table, or fit another model"
        )

    @classmethod
    def future_values_missing(cls, column: str, series: Collection[object], horizon: int, first: object) -> Self:
        return cls(
            f"known column {column!r} lacks values in the {horizon} steps after the cutoff "
            f"for {len(series)} series: {some_of(series)}; the first at {first}\n"
            f"Hint: supply the future values, or move {column!r} to `observed` in the schema "
            f"if they cannot be known when the forecast is made; the table needs a row for every step, "
            "in which single cells may be left empty, unless it is said to be `partial` (--partial)"
        )

    @classmethod
    def future_column_empty(cls, column: str, series: Collection[object], horizon: int) -> Self:
        return cls(
            f"known column {column!r} has no value at all in the {horizon} steps after the cutoff, for "
            f"{len(series)} series: {some_of(series)}; the rows before have all of them\n"
            f"Hint: supply the future values that are known, or move {column!r} to `observed` in the schema; say that "
            "the plan is `partial` (--partial) to forecast without them"
        )

    @classmethod
    def future_column_missing(cls, column: str, columns: Collection[str], horizon: int, series: int) -> Self:
        return cls(
            f"known column {column!r} lacks values in the {horizon} steps after the cutoff for {series} series: the "
            f"future table has no such column\n{did_you_mean(column, columns)}"
        )

    @classmethod
    def empty_table(cls, where: str = "the table") -> Self:
        return cls(f"{where} has no rows\nHint: pass at least one row per series and step")

    @classmethod
    def no_partitions(cls, folder: object, endings: Sequence[str]) -> Self:
        return cls(f"folder {folder} holds no table\nHint: tables are files that end in {', '.join(endings)}")

    @classmethod
    def same_partition(cls, name: str, first: object, second: object) -> Self:
        return cls(
            f"{first} and {second} would both be partition {name!r}\nHint: rename one, or remove it if it is a copy"
        )

    @classmethod
    def series_in_two_partitions(cls, series: object, first: object, second: object) -> Self:
        return cls(
            f"series {series!r} is in {first} and in {second}; all rows of a series have to be in one partition\n"
            "Hint: partition the table by a column that has one value in a series, such as with "
            "pl.scan_parquet(folder).sink_parquet(pl.PartitionBy(new_folder, key=column))"
        )

    @classmethod
    def partitions_of_one_series(cls, folder: object, count: int) -> Self:
        return cls(
            f"the model was trained on one series, without an id column, and folder {folder} holds {count} partitions\n"
            "Hint: forecast each file by a call of its own, or train on a table with an id column"
        )

    @classmethod
    def plans_do_not_match(cls, without_plan: Collection[str], without_data: Collection[str], future: object) -> Self:
        kinds = {"without a plan": without_plan, "plans of no partition": without_data}
        differences = "; ".join(f"{kind}: {some_of(names)}" for kind, names in kinds.items() if names)
        return cls(
            f"the plans in {future} are not those of the partitions; {differences}\n"
            "Hint: the plan of a partition has its name, apart from the ending: data/s=1/a.parquet, plans/s=1/a.csv"
        )

    @classmethod
    def plan_with_series(cls, path: object, id_: str) -> Self:
        return cls(
            f"plan {path} has the column {id_!r}, and one file is the plan of every series of every partition\n"
            "Hint: write a folder of plans, one file a partition and of its name, or leave that column out"
        )

    @classmethod
    def partitions_failed(cls, failures: Mapping[str, str], partitions: int, folder: object) -> Self:
        shown = [f"- {name}: {text}".replace("\n", "\n  ") for name, text in list(failures.items())[:MAX_FAILURES]]
        if len(failures) > MAX_FAILURES:
            shown.append(f"- and {len(failures) - MAX_FAILURES:,} more")
        return cls(
            f"{len(failures):,} of {format_count(partitions, 'partition')} could not be forecast; the forecasts of the "
            f"others are in {folder}, and the same call, repeated, forecasts what is not there\n" + "\n".join(shown)
        )

    @classmethod
    def nothing_to_train_on(cls, horizon: int, longest: int) -> Self:
        return cls(
            f"no window fits into the training span: a window needs {horizon} steps to forecast and one before them, "
            f"and the longest series has {longest} rows\n"
            "Hint: shorten the horizon, or make validation and test smaller"
        )

    @classmethod
    def target_without_values(cls, target: str) -> Self:
        return cls(f"target {target!r} has no value before the training cutoffs\nHint: check the column and the split")

    @classmethod
    def unsupported_values(
        cls, target: str, problem: str, instead: str, series: Collection[object], row: int, value: float
    ) -> Self:
        return cls(
            f"target {target!r} has {problem}, in {len(series)} series: {some_of(series)}; the first is {value:g} "
            f"in row {row} of {next(iter(series))!r}\nHint: use {instead}, or correct the rows"
        )

    @classmethod
    def too_large(cls, column: str, series: object, where: str, value: float) -> Self:
        return cls(
            f"column {column!r} holds {value:g} in {where}, of series {series!r}, which is too large to be scaled, by "
            "itself or beside the other values\n"
            "Hint: correct the cell; where the number stands for a missing value, leave it empty"
        )

    @classmethod
    def forecasts_not_finite(cls, series: Collection[object]) -> Self:
        return cls(
            f"the forecasts of {len(series)} series are not finite numbers: {some_of(series)}\n"
            "Hint: look for extreme values in their last rows"
        )

    @classmethod
    def nothing_to_evaluate(cls, horizon: int) -> Self:
        return cls(
            f"no window of {horizon} steps lies in the span to evaluate\n"
            "Hint: make the test span larger, or shorten the horizon"
        )

    @classmethod
    def no_origin(cls, horizon: int, span: str, start: str | None, end: str | None) -> Self:
        requested = f"from {start or 'the start of the test span'} to {end or 'the end of the table'}"
        return cls(
            f"no window of {horizon} steps lies in the requested span, {requested}; the table spans {span}\n"
            "Hint: choose an earlier `start` or a later `end`, or pass a table whose test span holds a whole horizon"
        )

    @classmethod
    def series_without_window(cls, series: object, length: int, horizon: int) -> Self:
        return cls(
            f"series {str(series)!r} has {length} steps, too few to forecast the last {horizon} of them\n"
            "Hint: pass `future`, the known columns of the steps after its last row, so that these are forecast"
        )

    @classmethod
    def not_a_matrix(cls, shape: Sequence[int], kind: str) -> Self:
        return cls(
            f"an array must have rows (steps) and columns (features) of numbers, not shape {tuple(shape)} of {kind}\n"
            "Hint: pass a 2-D array, or a DataFrame"
        )

    @classmethod
    def no_features(cls, keys: Collection[str]) -> Self:
        return cls(f"the table has no feature column\nHint: these are not features: {some_of(keys)}")

    @classmethod
    def not_numeric(cls, column: str, kind: str) -> Self:
        return cls(
            f"column {column!r} is not numeric but {kind}\n"
            f"Hint: drop it, or encode it as numbers; series are named by a column 'seq_ix' or 'unique_id'"
        )

    @classmethod
    def values_missing(cls, counts: Mapping[str, int], first_row: int) -> Self:
        columns = list_examples([f"{name!r} ({count})" for name, count in sorted(counts.items())], len(counts))
        return cls(
            f"values are missing or infinite in {columns}; the first is in row {first_row} (sorted by sequence "
            "and step)\nHint: fill or drop them; `fusecast fit` accepts missing values"
        )

    @classmethod
    def step_twice(cls, column: str, count: int, first_row: int) -> Self:
        return cls(
            f"{count} steps of {column!r} occur twice in their sequence, the first in row {first_row} (sorted by "
            "sequence and step)\nHint: keep one row per step, or name the sequences in a column 'seq_ix' or 'unique_id'"
        )

    @classmethod
    def missing_sequence(cls, column: str, row: int) -> Self:
        return cls(f"column {column!r} is empty in row {row}, and names no sequence\nHint: name it, or drop the row")

    @classmethod
    def not_a_flag(cls, column: str, value: str, row: int) -> Self:
        return cls(
            f"column {column!r} holds {value!r} in row {row}, which is neither true nor false\n"
            "Hint: write true and false, or 1 and 0"
        )

    @classmethod
    def not_steps(cls, column: str, first: str) -> Self:
        return cls(f"column {column!r} holds neither whole numbers nor times, such as {first!r}")

    @classmethod
    def windows_too_long(cls, window_size: int, longest: int, needed: int) -> Self:
        rows = "" if needed < 0 else f", and {needed} rows are marked in 'need_prediction'"
        return cls(
            f"no training, validation and test windows of {window_size} steps and the step after them exist: the "
            f"longest unbroken sequence has {longest} rows{rows}\nHint: shorten window_size, or pass more rows"
        )

    @classmethod
    def empty_loader(cls, purpose: str = "forecast") -> Self:
        return cls(f"the loader yields no batch, so there is nothing to {purpose}")

    @classmethod
    def no_statistics(cls, group: str) -> Self:
        return cls(
            f"means and deviations of {group} cannot be computed: values are missing, infinite or beyond float32\n"
            "Hint: fill or drop them; `fusecast fit` accepts missing values"
        )

    @classmethod
    def other_columns(cls, missing: Collection[str], unknown: Collection[str]) -> Self:
        kinds = {"missing": missing, "unknown": unknown}
        differences = "; ".join(f"{kind}: {some_of(names)}" for kind, names in kinds.items() if names)
        return cls(
            f"the columns of the data are not those that the model was trained on; {differences}\n"
            "Hint: pass a table with the columns of the training, under the same names; to train the model on other "
            "features, set its attribute `feature_names` to None first"
        )

    @classmethod
    def columns_in_other_order(cls, trained: Sequence[str], given: Sequence[str]) -> Self:
        i = next(i for i, names in enumerate(zip(trained, given, strict=True)) if names[0] != names[1])
        return cls(
            f"the columns of the data are in another order than in the training: column {i} is {given[i]!r}, and was "
            f"{trained[i]!r}\nHint: make the loaders of table[[{', '.join(map(repr, trained[:3]))}"
            f"{', ...' if len(trained) > 3 else ''}]]; the attribute `feature_names` of the model is the whole list"
        )

    @classmethod
    def too_few_for_dependence(cls, windows: int, needed: int) -> Self:
        return cls(
            f"{windows} windows of the validation span have all their actuals, and {needed} are needed to estimate "
            "the dependence between the steps of a forecast\n"
            "Hint: pass a table that holds all of that span, make it larger in the fit, or sample with "
            "method='independent'"
        )

    @classmethod
    def too_few_to_calibrate(cls, actuals: int, needed: int) -> Self:
        return cls(
            f"the validation span has {actuals} known actuals at some step ahead; {needed} are needed to calibrate\n"
            "Hint: pass a table that holds all of that span, or make it larger in the fit"
        )
