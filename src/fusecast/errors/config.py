from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from fusecast.errors.base import FusecastError, did_you_mean, join_words, some_of


class ConfigError(FusecastError):
    """Options that are invalid, alone or together."""

    @classmethod
    def cannot_stream(cls, source: object) -> Self:
        return cls(
            f"table.streaming reads Parquet files and folders of them in pieces, and the table is {source}\n"
            "Hint: write it once, such as pl.scan_csv(path).sink_parquet(path_of_parquet)"
        )

    @classmethod
    def not_positive(cls, name: str, value: object) -> Self:
        return cls.wrong_value(name, value, "at least 1")

    @classmethod
    def wrong_value(cls, name: str, value: object, expected: str) -> Self:
        return cls(f"{name} must be {expected}, not {value}")

    @classmethod
    def too_few_members(cls, members: int, kinds: Sequence[str]) -> Self:
        return cls(
            f"features.window_scaling has {len(kinds)} kinds ({', '.join(kinds)}), and training.members is {members}\n"
            f"Hint: every kind needs a network: --members {len(kinds)}"
        )

    @classmethod
    def out_of_range(cls, name: str, value: object, allowed: str) -> Self:
        return cls(f"{name} must lie in {allowed}, not {value}")

    @classmethod
    def not_one_of(cls, name: str, value: object, allowed: Iterable[str]) -> Self:
        return cls(f"{name} cannot be {value!r}\n{did_you_mean(str(value), allowed)}")

    @classmethod
    def unknown(cls, kind: str, name: object, available: Iterable[object]) -> Self:
        return cls(f"there is no {kind} {name!r}\n{did_you_mean(str(name), map(str, available))}")

    @classmethod
    def no_settings(cls, kind: str) -> Self:
        return cls(
            f"a config has its settings as attributes, and a {kind} has none of them\n"
            "Hint: pass a LightningTrainingConfig, such as LightningTrainingConfig(num_epochs=10)"
        )

    @classmethod
    def not_an_assignment(cls, text: str) -> Self:
        return cls(f"{text!r} is not of the form name=value\nHint: for example num_epochs=10")

    @classmethod
    def unreadable(cls, path: object, reason: str) -> Self:
        return cls(f"configuration {path} cannot be read: {reason}")

    @classmethod
    def cut_short(cls, path: object) -> Self:
        return cls(
            f"configuration {path} is cut short: its last line, with its checksum, is not there or not whole\n"
            "Hint: copy it again; or, if you have edited it on purpose, delete the comment in its first line too"
        )

    @classmethod
    def changed(cls, path: object) -> Self:
        return cls(
            f"configuration {path} is not as it was written: it does not have the checksum in its last line\n"
            "Hint: if you have edited it on purpose, delete the comments in its first and its last line; "
            "else it is damaged: copy it again"
        )

    @classmethod
    def cannot_listen(cls, host: str, port: int, reason: str) -> Self:
        return cls(
            f"cannot listen on port {port} of {host}: {reason}\n"
            "Hint: choose another --port, 0 for a free one, or an address of this machine as --host"
        )

    @classmethod
    def model_named_twice(cls, name: str) -> Self:
        return cls(f"two models are called {name!r}\nHint: name them apart, as in first=PATH second=PATH")

    @classmethod
    def no_data(cls, *, saved: bool = False) -> Self:
        if saved:
            return cls(
                "no table to read: a bundle, and a model that was fitted to a frame, are saved without theirs\n"
                "Hint: pass the table as data=, or as --data on the command line"
            )
        return cls("no table to read\nHint: pass a path or a frame")

    @classmethod
    def nothing_to_export(cls) -> Self:
        return cls("nothing to export to\nHint: name a folder with --to, or a file with --onnx")

    @classmethod
    def not_in_onnx(cls, what: str, reason: str, other: str, *, raw: bool = False) -> Self:
        alone = ", or export the networks alone with --raw (raw=True), without blend and calibration" if raw else ""
        return cls(f"{what} cannot be exported to ONNX: {reason}\nHint: train with {other}{alone}; or export a bundle")

    @classmethod
    def heads_do_not_divide(cls, hidden_size: int, num_heads: int) -> Self:
        fits = [n for n in range(1, min(hidden_size, 16) + 1) if hidden_size % n == 0]
        return cls(
            f"num_heads must divide hidden_size: {hidden_size} is not divisible by {num_heads}\n"
            f"Hint: with this hidden size, num_heads can be {', '.join(map(str, fits))}"
        )

    @classmethod
    def wrong_size(cls, what: str, measure: str, size: int, expected: object) -> Self:
        return cls(
            f"{what} has {measure} {size}, and the network expects {measure} {expected}\n"
            "Hint: build the windows, the batch and the ModelConfig from the same inputs"
        )

    @classmethod
    def not_a_pair(cls, kind: str) -> Self:
        return cls(
            f"a batch must be a pair (x, y), not a {kind}\n"
            "Hint: x is [B, steps, input_size] and y [B, output_size]; override training_step for other batches"
        )

    @classmethod
    def wrong_target(cls, name: str, shape: Sequence[int], expected: Sequence[int]) -> Self:
        hint = f"reshape it, such as with y.reshape({', '.join(map(str, (-1, *expected[1:])))})"
        if math.prod(shape) != math.prod(expected):
            hint = "give as many values for each window as the network forecasts, or build it for those of the batches"
        return cls(f"the shape of {name} in a batch must be {list(expected)}, not {list(shape)}\nHint: {hint}")

    @classmethod
    def bad_quantiles(cls, levels: Sequence[float]) -> Self:
        return cls(f"quantiles must increase and lie between 0 and 1, not {list(levels)}\nHint: such as 0.1,0.5,0.9")

    @classmethod
    def no_batch(cls, kind: str) -> Self:
        return cls(
            f"the network reads a Batch of windows, not a {kind}\n"
            "Hint: fusecast.model.batch.Batch has its tensors by name; example_batch(config) makes one"
        )

    @classmethod
    def single_level(cls, level: float) -> Self:
        return cls(
            f"these forecasts have one quantile level, {level:g}, from which no others follow\n"
            "Hint: fit with several network.quantiles, such as 0.1,0.5,0.9, or with a distribution (network.head) and "
            "take its own quantiles (raw)"
        )

    @classmethod
    def levels_are_fixed(cls) -> Self:
        return cls(
            "a quantile head forecasts only the levels that it was trained for\n"
            "Hint: interpolate between them, or train with network.head='student_t' or another distribution"
        )

    @classmethod
    def transform_with_head(cls, head: str, transform: str) -> Self:
        return cls(
            f"network.head={head!r} is a distribution of the values themselves, and features.target_transform="
            f"{transform!r} would change them\nHint: use target_transform='none' with it"
        )

    @classmethod
    def missing_device(cls, requested: str, available: Mapping[str, int]) -> Self:
        names = ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in available.items())
        return cls(
            f"device {requested!r} is not available on this machine\n"
            f"Hint: available are {names}; 'auto' chooses the fastest"
        )

    @classmethod
    def wrong_map_location(cls, requested: object, available: Mapping[str, int]) -> Self:
        names = ", ".join(available)
        return cls(
            f"map_location {requested!r} leads to no device of this machine\n"
            f"Hint: available are {names}; map_location='cpu' always works"
        )

    @classmethod
    def precision_too_low(cls, precision: object, available: Iterable[str]) -> Self:
        return cls(
            f"precision cannot be {precision}: it would round the weights, and the numbers of the data, to few digits\n"
            f"Hint: available are {', '.join(available)}; bf16-mixed computes in bfloat16 and keeps these in float32"
        )

    @classmethod
    def fixed_after_construction(cls, name: str, value: object) -> Self:
        return cls(
            f"{name} is {value} since the model was built, and cannot be changed\n"
            f"Hint: build another model, with {name}=..."
        )

    @classmethod
    def too_little_memory(cls, what: str, needed: int, available: int) -> Self:
        return cls(
            f"{what} needs at least {needed / 2**30:,.1f} GiB of memory, and {available / 2**30:,.1f} GiB are free\n"
            "Hint: make lookback, horizon, hidden_size or num_lstm_layers smaller"
        )

    @classmethod
    def too_few_devices(cls, kind: str, requested: int, available: int) -> Self:
        return cls(f"{requested} {kind} devices are requested, and this machine has {available}")

    @classmethod
    def calendar_does_not_vary(cls, name: str, frequency: str, varying: Sequence[str]) -> Self:
        hint = f"features that vary are {', '.join(varying)}" if varying else "no calendar feature varies"
        return cls(f"calendar feature {name!r} does not vary at frequency {frequency!r}\nHint: {hint}")

    @classmethod
    def unknown_country(cls, country: str, codes: Sequence[str], names: Mapping[str, str]) -> Self:
        """`codes` are those of all countries, `names` the code of each by its name."""
        from difflib import get_close_matches

        code, dash, region = country.upper().partition("-")
        close = get_close_matches(country.lower().replace(" ", "_"), names, n=1)
        if code in codes:
            hint = f"did you mean {code + dash + region!r}?"
        elif close:
            hint = f"did you mean {names[close[0]]!r}?"
        else:
            hint = "countries have two letters, such as DE, FR, GB or US, and DE-BY is a part of one"
        return cls(f"there is no country {country!r} with known holidays\nHint: {hint}")

    @classmethod
    def country_without_dates(cls, countries: Sequence[str], frequency: str) -> Self:
        return cls(
            f"holidays of {join_words(countries)} need dates, and steps of {frequency} are numbers\n"
            "Hint: leave `country` out, or pass a table with dates"
        )

    @classmethod
    def duplicate_predictors(cls, names: Sequence[str]) -> Self:
        repeated = sorted({name for name in names if names.count(name) > 1})
        return cls(f"predictors to compare must have different names; repeated are {some_of(repeated)}")

    @classmethod
    def series_too_short(
        cls, validation: object, test: object, series: int, longest: int, remaining: int, needed: int
    ) -> Self:
        return cls(
            f"none of {series} series is long enough for validation {validation!r} and test {test!r}: "
            f"of {longest} rows {remaining} remain to train on, and {needed} are needed\n"
            "Hint: make validation and test smaller, or shorten the horizon"
        )

    @classmethod
    def bad_date(cls, name: str, text: str, expected: str) -> Self:
        return cls(f"{name} begins at {text!r}, which is not {expected}")

    @classmethod
    def empty_split(cls, name: str, value: object, horizon: int, span: str) -> Self:
        return cls(
            f"{name} {value!r} leaves no series with the {horizon} rows of one horizon; the data span {span}\n"
            "Hint: choose another date, a fraction, or a number of horizons"
        )

    @classmethod
    def split_order(cls, validation: object, test: object) -> Self:
        return cls(f"validation begins at {validation} and test at {test}\nHint: validation comes before test")

    @classmethod
    def nothing_to_change(cls, name: str, known: Sequence[str]) -> Self:
        columns = f"known columns are {some_of(known)}" if known else "this model has no known columns"
        return cls(
            f"{name!r} is not a known column, so that its future values cannot be changed\n"
            f"Hint: {columns}; calendar features are derived from the time"
        )

    @classmethod
    def no_series_named(cls) -> Self:
        return cls("the list of series to explain is empty\nHint: name a series, or use None for all")

    @classmethod
    def nothing_to_explain(cls, part: str) -> NothingToExplainError:
        return NothingToExplainError(
            f"no window lies in the span to explain, {part!r}\nHint: choose another span, such as 'all'"
        )

    @classmethod
    def size_unknown(cls, path: object, names: Sequence[str]) -> Self:
        example = " ".join(f"--set {name}=..." for name in names)
        return cls(
            f"{', '.join(names)} cannot be inferred from the tensors in {path}\n"
            f"Hint: {example}, or --config with a file that holds them"
        )

    @classmethod
    def head_needs_training(cls, head: str) -> Self:
        return cls(
            f"the migrated weights forecast quantiles, so that the head cannot be {head!r}\n"
            "Hint: leave `head` out; a network with another head is trained with `fusecast fit --set network.head=...`"
        )

    @classmethod
    def missing_extra(cls, what: str, library: str, extra: str) -> Self:
        return cls(f"{what} needs {library}, which is not installed\nHint: pip install 'fusecast[{extra}]'")

    @classmethod
    def missing_library(cls, what: str, library: str) -> Self:
        return cls(f"{what} needs {library}, which is not installed\nHint: pip install {library}")

    @classmethod
    def not_in_matplotlib(cls, kind: str) -> Self:
        return cls(f"a trace of kind {kind!r} has no counterpart in matplotlib\nHint: use engine='plotly'")

    @classmethod
    def not_forecasts(cls, columns: Sequence[str]) -> Self:
        return cls(
            f"the table has no forecasts: it lacks the columns 'cutoff' and 'y_hat', and has {some_of(columns)}\n"
            "Hint: pass a backtest, or what `predict` returns"
        )

    @classmethod
    def other_types(cls, keys: Sequence[str], reason: str) -> Self:
        return cls(
            f"columns {join_words(list(keys))} of `actual` are of other types than those of the forecasts: {reason}\n"
            "Hint: pass the table that was forecast, or convert these columns"
        )

    @classmethod
    def needs_folder(cls, engine: str) -> Self:
        return cls(
            f"engine {engine!r} forecasts folders, and no folder was given\n"
            "Hint: pass a folder of tables with --data, or leave --engine out"
        )

    @classmethod
    def cluster_failed(cls, reason: str) -> Self:
        return cls(
            f"the Ray cluster failed: {reason}\n"
            "Hint: check it with `ray status`; the same command, repeated, forecasts what is not there"
        )

    @classmethod
    def missing_browser(cls, what: str) -> Self:
        return cls(
            f"{what} needs a browser, Chromium or Chrome, and none is installed\n"
            "Hint: install the package `chromium`, or set BROWSER_PATH to the program"
        )

    @classmethod
    def not_calibrated(cls) -> Self:
        return cls("this model has no calibration\nHint: run `fusecast calibrate RUN`, or call `calibrate` in Python")


class NothingToExplainError(ConfigError):
    """No window lies in the span to explain."""


class InvalidOptionsError(ConfigError):
    """Options of a run that are unknown, missing or out of bounds."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(problems)
        self.problems = dict(problems)
        """What is wrong, such as "must be at least 1, not 0", by the full name of the option."""

    def __str__(self) -> str:
        return "\n".join(f"{name} {problem}" for name, problem in self.problems.items())


def list_choices(schema: Mapping[str, Any]) -> set[str]:
    """Return the values that a JSON schema enumerates, as texts."""
    return {str(choice) for option in (schema, *schema.get("anyOf", ())) for choice in option.get("enum", ())}


_KINDS = {"integer": "a whole number", "number": "a number", "string": "a text", "boolean": "true or false"}
_BOUNDS = {"minimum": "of at least", "exclusiveMinimum": "above", "maximum": "of at most", "exclusiveMaximum": "below"}


def describe_allowed(schema: Mapping[str, Any]) -> str:
    """Describe the values that a JSON schema allows, such as "a whole number of at least 1 or none"."""
    if "anyOf" in schema:
        return " or ".join(describe_allowed(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    match schema.get("type"):
        case None:
            return "a section of options"
        case "null":
            return "none"
        case "array":
            return f"a list of {'numbers' if schema['items'] == {'type': 'number'} else 'texts'}"
        case kind:
            limits = {key: schema[key] for key in _BOUNDS if key in schema}
            bounds = [f"{_BOUNDS[key]} {limit:{',' if limit >= 1_000 else 'g'}}" for key, limit in limits.items()]
            return " ".join([_KINDS[kind], " and ".join(bounds)]).strip()
