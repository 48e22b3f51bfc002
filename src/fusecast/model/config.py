"""What determines the shape of a network, in plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from fusecast.errors import ConfigError

ATTENTION_MASKS = ("inclusive", "strict", "none")
VARIABLE_SKIPS = ("identity", "linear", "normalised")
HEADS = ("quantile", "normal", "student_t", "negative_binomial", "tweedie")


def validate_quantile_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Check quantile levels.

    Raises
    ------
    ConfigError
        When there are none, they do not increase, or one lies outside (0, 1).
    """
    wanted = tuple(float(level) for level in levels)
    if not wanted or any(not 0.0 < q < 1.0 for q in wanted) or any(a >= b for a, b in pairwise(wanted)):
        raise ConfigError.bad_quantiles(wanted)
    return wanted


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of a Temporal Fusion Transformer.

    Reals are counted, categories are listed by cardinality; every cardinality includes code 0 (unknown).
    The order of the variables is that of :mod:`fusecast.model.batch`.
    """

    horizon: int
    """Steps to forecast, H."""
    lookback: int
    """Steps of history, L. The parameters do not depend on it; a served model checks it."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Quantile levels, strictly increasing, inside (0, 1)."""
    head: str = "quantile"
    """What is forecast of each target and step: the quantiles themselves ("quantile"), or the parameters of a
    distribution whose quantiles they are: "normal", "student_t", "negative_binomial" (counts), "tweedie" (amounts that
    are often 0)."""
    tweedie_power: float = 1.5
    """Power of the mean in the variance of "tweedie"."""
    num_targets: int = 1
    static_reals: int = 0
    static_categories: tuple[int, ...] = ()
    observed_reals: int = 1
    """Real inputs known in the past only, the targets (always first) counted in."""
    observed_categories: tuple[int, ...] = ()
    known_reals: int = 0
    """Real inputs known in past and future."""
    known_categories: tuple[int, ...] = ()
    hidden_size: int = 32
    num_heads: int = 4
    num_lstm_layers: int = 1
    dropout: float = 0.1

    # The rest is the paper's where it is not set. Weights that were trained elsewhere may need another setting.
    layer_norm_eps: float = 1e-5
    """Added to the variance in every layer norm."""
    attention_bias: bool = False
    """Whether queries, keys and values have biases."""
    attention_mask: str = "inclusive"
    """What a step of the horizon sees of the horizon: up to itself ("inclusive"), before itself ("strict"), all of it
    ("none")."""
    variable_skip: str = "identity"
    """What goes around a variable's own network: its embedding ("identity"), a linear map of it ("linear"), or that
    map, layer-normed for reals ("normalised")."""
    selection_skip_norm: bool = False
    """Whether what goes around the network that gives the selection weights is layer-normed."""
    contexts_without_static: bool = False
    """Whether a network without static variables has contexts all the same, those of a vector of zeros."""

    def __post_init__(self) -> None:
        for name in ("quantiles", "static_categories", "observed_categories", "known_categories"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("horizon", "lookback", "num_targets", "hidden_size", "num_heads", "num_lstm_layers"):
            if getattr(self, name) < 1:
                raise ConfigError.not_positive(name, getattr(self, name))
        if self.hidden_size % self.num_heads:
            raise ConfigError.heads_do_not_divide(self.hidden_size, self.num_heads)
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError.out_of_range("dropout", self.dropout, "[0, 1)")
        validate_quantile_levels(self.quantiles)
        if self.layer_norm_eps <= 0.0:
            raise ConfigError.out_of_range("layer_norm_eps", self.layer_norm_eps, "(0, inf)")
        for name, choices in (
            ("attention_mask", ATTENTION_MASKS),
            ("variable_skip", VARIABLE_SKIPS),
            ("head", HEADS),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError.not_one_of(name, getattr(self, name), choices)
        if not 1.1 <= self.tweedie_power <= 1.9:
            raise ConfigError.out_of_range("tweedie_power", self.tweedie_power, "[1.1, 1.9]")
        if self.observed_reals < self.num_targets:
            raise ConfigError.targets_not_observed(self.num_targets, self.observed_reals)

    @property
    def has_contexts(self) -> bool:
        """Whether the temporal part of the network is given static contexts."""
        return self.num_static > 0 or self.contexts_without_static

    @property
    def num_static(self) -> int:
        """Static variables, V of the static group."""
        return self.static_reals + len(self.static_categories)

    @property
    def num_past(self) -> int:
        """Past variables, V of the past group."""
        return self.observed_reals + len(self.observed_categories) + self.num_future

    @property
    def num_future(self) -> int:
        """Future variables, V of the future group."""
        return self.known_reals + len(self.known_categories)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only; ``ModelConfig(**config.to_dict())`` gives the same config."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
