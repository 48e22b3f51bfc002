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

from collections.abc import Collection, Iterable, Mapping, Sequence
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

    @classmethod
    def no_frequency(cls, time: str, reason: str) -> Self:
        return cls(
            f"the frequency of time column {time!r} cannot be told: {reason}\nHint: give `frequency`, such as 1h"
        )

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
    def not_as_fitted(cls, differences: Sequence[str]) -> Self:
        return cls("the table is not described as the one fitted on: " + "; ".join(differences))


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
    def no_data(cls) -> Self:
        return cls("no table is given\nHint: name a file, or hand over a frame")

    @classmethod
    def heads_do_not_divide(cls, hidden_size: int, num_heads: int) -> Self:
        fits = [n for n in range(1, min(hidden_size, 16) + 1) if hidden_size % n == 0]
        return cls(
            f"hidden size {hidden_size} cannot be shared by {num_heads} attention heads\n"
            f"Hint: with this hidden size, heads can be {', '.join(map(str, fits))}"
        )

    @classmethod
    def batch_does_not_fit(cls, name: str, found: int, expected: str) -> Self:
        return cls(
            f"the batch's {name} has width {found}, and this network was made for width {expected} there\n"
            "Hint: make the batch and the ModelConfig from the same inputs"
        )

    @classmethod
    def bad_quantiles(cls, levels: Sequence[float]) -> Self:
        return cls(
            f"quantiles must increase and lie between 0 and 1, not {list(levels)}\nHint: for example 0.1,0.5,0.9"
        )

    @classmethod
    def targets_not_observed(cls, num_targets: int, observed_reals: int) -> Self:
        return cls(f"{num_targets} targets cannot be among {observed_reals} observed reals: targets are observed first")

    @classmethod
    def other_sizes(cls, name: str, given: int, network: int) -> Self:
        return cls(f"windows with a {name} of {given} do not fit a network with a {name} of {network}")

    @classmethod
    def device_absent(cls, asked: str, available: Mapping[str, int]) -> Self:
        there = ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in available.items())
        return cls(f"device {asked!r} is not on this machine\nHint: there is {there}; 'auto' takes the best there is")

    @classmethod
    def too_few_devices(cls, kind: str, asked: int, available: int) -> Self:
        return cls(f"{asked} {kind} devices are asked for, and this machine has {available}")

    @classmethod
    def calendar_does_not_vary(cls, name: str, frequency: str, varying: Sequence[str]) -> Self:
        there_are = f"features that do are {', '.join(varying)}" if varying else "there are no calendar features at it"
        return cls(f"calendar feature {name!r} says nothing at frequency {frequency!r}\nHint: {there_are}")

    @classmethod
    def predictors_share_a_name(cls, names: Sequence[str]) -> Self:
        twice = sorted({name for name in names if names.count(name) > 1})
        return cls(f"predictors to compare must have names of their own; given twice: {some_of(twice)}")

    @classmethod
    def series_too_short(
        cls, validation: object, test: object, series: int, longest: int, remaining: int, needed: int
    ) -> Self:
        return cls(
            f"none of {series} series is long enough for validation {validation!r} and test {test!r}: of {longest} rows "
            f"{remaining} remain to train on, and {needed} are needed\n"
            "Hint: give less to validation and test, or shorten the horizon"
        )

    @classmethod
    def bad_date(cls, part: str, text: str, wanted: str) -> Self:
        return cls(f"{part} begins at {text!r}, which is not {wanted}")

    @classmethod
    def empty_part(cls, part: str, value: object, horizon: int, span: str) -> Self:
        return cls(
            f"{part} {value!r} leaves no series with the {horizon} rows of one horizon; the data span {span}\n"
            "Hint: choose another date, a fraction, or a number of horizons"
        )

    @classmethod
    def split_order(cls, validation: object, test: object) -> Self:
        return cls(f"validation begins at {validation} and test at {test}\nHint: validation comes before test")

    @classmethod
    def forecasts_do_not_fit(
        cls, levels: Sequence[float], horizon: int, other_levels: Sequence[float], other_horizon: int
    ) -> Self:
        return cls(
            f"forecasts of {horizon} steps at {list(levels)} cannot be put before forecasts of {other_horizon} steps "
            f"at {list(other_levels)}"
        )


class TrainingError(FusecastError):
    """Training cannot start or go on."""

    @classmethod
    def loss_not_finite(cls, loss: float, step: int, epoch: int, windows: Sequence[int]) -> Self:
        return cls(
            f"the training loss became {loss} in step {step} of epoch {epoch}, in the batch of {len(windows)} windows "
            f"with the numbers {some_of(windows)}\n"
            "Hint: lower the learning rate or the gradient clip, train with precision 32, "
            "or look for extreme values in the series of these windows"
        )

    @classmethod
    def validation_not_finite(cls, loss: float, epoch: int) -> Self:
        return cls(
            f"the validation loss became {loss} after epoch {epoch}\n"
            "Hint: lower the learning rate, train with precision 32, "
            "or look for extreme values in the validation span"
        )

    @classmethod
    def no_windows(cls) -> Self:
        return cls(
            "there is no window to train on\n"
            "Hint: shorten the horizon, or give less of the series to validation and test"
        )

    @classmethod
    def checkpoints_in_the_way(cls, folder: object, names: Sequence[str]) -> Self:
        return cls(
            f"folder {folder} already holds checkpoints: {some_of(names)}\n"
            "Hint: name a new folder, or resume from one of them"
        )

    @classmethod
    def unfit_checkpoint(cls, path: object, reason: str) -> Self:
        return cls(f"training cannot be resumed from {path}: {reason}")

    @classmethod
    def other_windows(cls, then: int, now: int) -> Self:
        return cls(
            f"training cannot go on in the middle of an epoch: it had {then} windows, and there are {now} now\n"
            "Hint: resume with the same data, lookback, horizon and split"
        )

    @classmethod
    def not_fitted(cls) -> Self:
        return cls("there is no trained model yet\nHint: call `fit`, or load a saved one")


class ArtifactError(FusecastError):
    """A saved file is missing, foreign, truncated or unsafe."""

    @classmethod
    def unknown_ending(cls, path: object, endings: Sequence[str]) -> Self:
        return cls(f"{path} has no ending that says how to write it\nHint: end the name with {', '.join(endings)}")

    @classmethod
    def no_folder(cls, folder: object) -> Self:
        return cls(f"folder {folder} does not exist\nHint: make it first, or write elsewhere")

    @classmethod
    def run_in_the_way(cls, folder: object) -> Self:
        return cls(f"folder {folder} already holds a run\nHint: name a new folder with --out, or remove this one")

    @classmethod
    def missing(cls, path: object, expected: str) -> Self:
        return cls(f"{path} does not exist\nHint: expected {expected}")

    @classmethod
    def unreadable(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} cannot be read: {reason}\n"
            "Hint: it is truncated or no file of fusecast; copy it again, or take an earlier one"
        )

    @classmethod
    def unsafe(cls, path: object, what: str) -> Self:
        return cls(
            f"{path} is refused: it holds {what}, which loading would have to execute; nothing in it was executed\n"
            "Hint: a checkpoint of fusecast holds tensors and plain values only; do not load this file by other means "
            "unless you trust whoever made it"
        )

    @classmethod
    def newer(cls, path: object, version: object, known: int) -> Self:
        return cls(
            f"{path} has format {version!r}, and this fusecast knows formats up to {known}\nHint: update fusecast"
        )

    @classmethod
    def wrong_tensors(
        cls, path: object, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]
    ) -> Self:
        parts = [
            f"{kind} {some_of(sorted(names))}"
            for kind, names in (("missing:", missing), ("unexpected:", unexpected), ("of another shape:", shapes))
            if names
        ]
        return cls(f"{path} does not hold the weights of the network that is described beside it; " + "; ".join(parts))

    @classmethod
    def in_the_way(cls, path: object) -> Self:
        return cls(f"{path} already exists and is no bundle of fusecast\nHint: name a new folder")

    @classmethod
    def not_a_preprocessor(cls, reason: str) -> Self:
        return cls(f"this is no preprocessor saved by fusecast: {reason}")
