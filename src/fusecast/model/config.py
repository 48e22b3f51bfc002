"""The configuration of a network: sizes and switches, with their defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from math import inf
from numbers import Integral, Real
from typing import Any, Literal, get_args

from fusecast.errors import ConfigError
from fusecast.errors.base import shorten

Head = Literal["quantile", "normal", "student_t", "negative_binomial", "tweedie"]
AttentionMask = Literal["inclusive", "strict", "none"]
VariableSkip = Literal["identity", "linear", "normalised"]

HEADS: tuple[Head, ...] = get_args(Head)
ATTENTION_MASKS: tuple[AttentionMask, ...] = get_args(AttentionMask)
VARIABLE_SKIPS: tuple[VariableSkip, ...] = get_args(VariableSkip)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of a Temporal Fusion Transformer, and what may differ from the paper.

    Reals are counted, categories are listed by cardinality; every cardinality includes code 0 (unknown).
    The order of the variables is that of :mod:`fusecast.model.batch`.

    Raises
    ------
    ConfigError
        When a value is impossible.
    """

    horizon: int
    """Steps to forecast, H."""
    lookback: int
    """Steps of history, L. The parameters do not depend on it; a served model checks it."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Quantile levels, strictly increasing, inside (0, 1)."""
    head: Head = "quantile"
    """What is forecast of each target and step: the quantiles themselves ("quantile"), or the parameters of a
    distribution whose quantiles they are: "normal", "student_t", "negative_binomial" (counts), "tweedie" (amounts that
    are often 0)."""
    tweedie_power: float = 1.5
    """Power of the mean in the variance of "tweedie"."""
    num_targets: int = 1  # Y
    static_reals: int = 0  # real inputs with one value a series
    static_categories: tuple[int, ...] = ()  # cardinalities, as of the other categories
    observed_reals: int = 1
    """Real inputs known in the past only, including the targets, which come first."""
    observed_categories: tuple[int, ...] = ()  # known in the past only
    known_reals: int = 0
    """Real inputs known in past and future."""
    known_categories: tuple[int, ...] = ()  # known in past and future
    hidden_size: int = 32  # d
    num_heads: int = 4  # attention heads; they must divide d
    num_lstm_layers: int = 1  # of the encoder, and of the decoder
    dropout: float = 0.1  # share of units dropped in training

    # The defaults of the following are the paper's. Weights that were trained elsewhere may need others.
    layer_norm_eps: float = 1e-5
    """Added to the variance in every layer norm."""
    attention_bias: bool = False
    """Whether queries, keys and values have biases."""
    attention_mask: AttentionMask = "inclusive"
    """Which steps of the horizon a step of it attends to: up to itself ("inclusive"), before itself ("strict"), all
    ("none")."""
    variable_skip: VariableSkip = "identity"
    """The residual of a variable's own network: its embedding ("identity"), a linear map of it ("linear"), or that
    map, layer-normed for reals ("normalised")."""
    selection_skip_norm: bool = False
    """Whether the residual of the network that computes the selection weights is layer-normed."""
    contexts_without_static: bool = False
    """Whether a network without static variables still has contexts, those of a vector of zeros."""

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("quantiles", "static_categories", "observed_categories", "known_categories"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("horizon", "lookback", "num_targets", "hidden_size", "num_heads", "num_lstm_layers"):
            if getattr(self, name) < 1:
                raise ConfigError.not_positive(name, getattr(self, name))
        for name in ("static_reals", "known_reals"):
            if getattr(self, name) < 0:
                raise ConfigError.out_of_range(name, getattr(self, name), "0, 1, 2, ...")
        for name in ("static_categories", "observed_categories", "known_categories"):
            if min(getattr(self, name), default=1) < 1:
                raise ConfigError.out_of_range(f"a number in {name}", min(getattr(self, name)), "1, 2, 3, ...")
        if self.hidden_size % self.num_heads:
            raise ConfigError.heads_do_not_divide(self.hidden_size, self.num_heads)
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError.out_of_range("dropout", self.dropout, "[0, 1)")
        validate_quantile_levels(self.quantiles)
        if not 0.0 < self.layer_norm_eps < inf:
            raise ConfigError.out_of_range("layer_norm_eps", self.layer_norm_eps, "(0, inf)")
        choices = {"attention_mask": ATTENTION_MASKS, "variable_skip": VARIABLE_SKIPS, "head": HEADS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError.not_one_of(name, getattr(self, name), allowed)
        if not 1.1 <= self.tweedie_power <= 1.9:
            raise ConfigError.out_of_range("tweedie_power", self.tweedie_power, "[1.1, 1.9]")
        if self.observed_reals < self.num_targets:
            limits = f"[1, {self.observed_reals}], the observed_reals"
            raise ConfigError.out_of_range("num_targets", self.num_targets, limits)

    @property
    def has_contexts(self) -> bool:
        """Whether the temporal part of the network has static contexts."""
        return self.num_static > 0 or self.contexts_without_static

    @property
    def past_reals(self) -> int:
        """Real variables of the past group."""
        return self.observed_reals + self.known_reals

    @property
    def past_categories(self) -> tuple[int, ...]:
        """Cardinalities of the categories of the past group."""
        return (*self.observed_categories, *self.known_categories)

    @property
    def num_static(self) -> int:
        """Static variables, V of the static group."""
        return self.static_reals + len(self.static_categories)

    @property
    def num_past(self) -> int:
        """Past variables, V of the past group."""
        return self.past_reals + len(self.past_categories)

    @property
    def num_future(self) -> int:
        """Future variables, V of the future group."""
        return self.known_reals + len(self.known_categories)

    @property
    def least_weights(self) -> int:
        """Numbers that the weights of such a network are at least: known before memory is requested for them."""
        d, head = self.hidden_size, len(self.quantiles) if self.head == "quantile" else 1
        categories = sum((*self.static_categories, *self.past_categories))
        maps = 16 * self.num_lstm_layers + self.num_static + self.num_past  # of d by d: the LSTM, and one a variable
        return maps * d * d + (categories + self.num_targets * head) * d

    def to_dict(self) -> dict[str, Any]:
        """Return plain values only; ``ModelConfig(**config.to_dict())`` is the same config."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _check_types(config: ModelConfig) -> None:
    """Raise a ConfigError where a value has another type than its field: the values may come from any file."""
    numbers = {"int": (Integral, "a whole number"), "float": (Real, "a number")}
    for field in fields(config):
        value, kind = getattr(config, field.name), str(field.type)
        if kind == "bool":
            if not isinstance(value, bool):
                raise ConfigError.wrong_value(field.name, shorten(value), "true or false")
        elif kind in numbers:
            number, words = numbers[kind]
            if isinstance(value, bool) or not isinstance(value, number):
                raise ConfigError.wrong_value(field.name, shorten(value), words)
        elif kind.startswith("tuple["):
            number, words = numbers[kind.removeprefix("tuple[").partition(",")[0]]
            is_list = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
            if not is_list or any(isinstance(item, bool) or not isinstance(item, number) for item in value):
                raise ConfigError.wrong_value(field.name, shorten(value), f"a list of {words.removeprefix('a ')}s")


def validate_quantile_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return quantile levels as floats; raise a ConfigError when there are none, or not rising ones inside (0, 1)."""
    validated = tuple(float(level) for level in levels)
    if not validated or any(not 0.0 < q < 1.0 for q in validated) or any(a >= b for a, b in pairwise(validated)):
        raise ConfigError.bad_quantiles(validated)
    return validated
