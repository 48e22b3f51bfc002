"""Infer the ModelConfig of old weights, from tensors, from their description and from what the user sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from fusecast.errors import ConfigError
from fusecast.interop.state_dict import Weights
from fusecast.model.config import HEADS, ModelConfig
from fusecast.training.lightning_module import TFTModule
from fusecast.training.resumable_module import ResumableModule

FIELDS = tuple(field.name for field in fields(ModelConfig))
REQUIRED_FIELDS = tuple(field.name for field in fields(ModelConfig) if field.default is MISSING)


def check_fields(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a ModelConfig; raise a ConfigError with the closest name for one that it does not have."""
    for name in sizes:
        if name not in FIELDS:
            raise ConfigError.unknown("option", name, FIELDS)
    return dict(sizes)


def infer_config(
    weights: Weights, inferred: Mapping[str, Any], given: Mapping[str, Any], *, quantiles_only: bool = True
) -> ModelConfig:
    """Return the configuration; what is given overrides what is inferred, in which None is an open size.

    With `quantiles_only` the head cannot be a distribution: the old weights forecast quantiles. Raises a ConfigError
    that names all sizes that are neither given nor inferred.
    """
    sizes = {name: value for name, value in inferred.items() if value is not None} | check_fields(given)
    if quantiles_only and sizes.get("head", HEADS[0]) != HEADS[0]:
        raise ConfigError.head_needs_training(str(sizes["head"]))
    needed = {name for name, value in inferred.items() if value is None} | set(REQUIRED_FIELDS)
    unknown = [name for name in FIELDS if name in needed and name not in sizes]
    if unknown:
        raise ConfigError.size_unknown(weights.path, unknown)
    try:
        return ModelConfig(**sizes)
    except TypeError:  # a number where a list is expected, or a list for a number
        raise ConfigError.wrong_value("the sizes of the network", dict(sizes), "numbers, or lists of numbers") from None


def infer_quantiles(
    rows: int, default: tuple[float, ...], given: Mapping[str, Any], library: str
) -> tuple[Any, list[str]]:
    """Return the quantile levels of a head with `rows` outputs, None where they are open; and what was assumed."""
    if "quantiles" in given:
        return given["quantiles"], []
    if rows != len(default):
        return None, []
    levels = ", ".join(map(str, default))
    return default, [f"quantile levels {levels} are assumed, {library} default for {rows}; no tensor says them"]


def module_builder(config: ModelConfig) -> Callable[[], ResumableModule]:
    """Return a function that builds an untrained network, in its LightningModule."""
    return lambda: TFTModule(config.to_dict(), seed=0)
