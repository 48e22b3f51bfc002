from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from fusecast.errors.base import FusecastError, did_you_mean, some_of


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
    def not_an_assignment(cls, text: str) -> Self:
        return cls(f"{text!r} is not of the form name=value\nHint: for example num_epochs=10")

    @classmethod
    def wrong_window(cls, shape: Sequence[int], features: int) -> Self:
        return cls(f"a batch of windows must have the shape [B, steps, {features}], not {list(shape)}")

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
    def levels_are_fixed(cls) -> Self:
        return cls(
            "a head of quantiles forecasts the levels it was trained for alone\n"
            "Hint: interpolate between them, or train with network.head='student_t' or another distribution"
        )

    @classmethod
    def transform_with_head(cls, head: str, transform: str) -> Self:
        return cls(
            f"network.head={head!r} is a distribution of the values themselves, and features.target_transform="
            f"{transform!r} would change them\nHint: use target_transform='none' with it"
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
            f"none of {series} series is long enough for validation {validation!r} and test {test!r}: "
            f"of {longest} rows {remaining} remain to train on, and {needed} are needed\n"
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

    @classmethod
    def nothing_to_change(cls, name: str, known: Sequence[str]) -> Self:
        there = f"known columns are {some_of(known)}" if known else "this model has no known columns"
        return cls(
            f"{name!r} is no known column, so that its future cannot be chosen\n"
            f"Hint: {there}; calendar features follow from the time"
        )

    @classmethod
    def wrong_change(cls, name: str, found: object, wanted: str) -> Self:
        return cls(f"the change of {name!r} is {found}, and {wanted} is wanted")

    @classmethod
    def unknown_series(cls, name: object, available: Sequence[object]) -> Self:
        return cls(f"there is no series {name!r}\n{did_you_mean(str(name), [str(each) for each in available])}")

    @classmethod
    def no_series_named(cls) -> Self:
        return cls("the list of series to look at is empty\nHint: name some, or give none for all")

    @classmethod
    def nothing_to_explain(cls, part: str) -> NothingToExplainError:
        return NothingToExplainError(
            f"no window lies in the span to explain, {part!r}\nHint: take another span, such as 'all'"
        )

    @classmethod
    def size_unknown(cls, path: object, names: Sequence[str]) -> Self:
        example = " ".join(f"--set {name}=..." for name in names)
        return cls(
            f"neither the tensors in {path} nor you say {', '.join(names)}\n"
            f"Hint: {example}, or --config with a file that says them"
        )

    @classmethod
    def weights_of_quantiles(cls, head: str) -> Self:
        return cls(
            f"the old weights forecast quantiles, so that the head cannot be {head!r}\n"
            "Hint: leave `head` out; a network with another head is trained with `fusecast fit --set network.head=...`"
        )

    @classmethod
    def size_of_wrong_kind(cls, sizes: Mapping[str, object]) -> Self:
        return cls(f"these sizes make no network, since one is of the wrong kind: {dict(sizes)}")

    @classmethod
    def extra_missing(cls, what: str, library: str, extra: str) -> Self:
        return cls(f"{what} needs {library}, which is not installed\nHint: pip install 'fusecast[{extra}]'")

    @classmethod
    def not_calibrated(cls) -> Self:
        return cls(
            "this model has no calibration\nHint: run `fusecast calibrate RUN`, or call `calibrate` on the forecaster"
        )


class NothingToExplainError(ConfigError):
    """No window lies in the span that is to be explained."""
