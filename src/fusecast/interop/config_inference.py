"""Sizes: what becomes a ModelConfig, from tensors, from what the file says and from what the user says."""

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
NEEDED = tuple(field.name for field in fields(ModelConfig) if field.default is MISSING)


def checked(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what is no field of a ModelConfig.

    Raises
    ------
    ConfigError
        Naming the closest field.
    """
    for name in sizes:
        if name not in FIELDS:
            raise ConfigError.unknown_option(str(name), FIELDS)
    return {name: _number(value) for name, value in sizes.items()}


def _number(value: Any) -> Any:
    """Read ``1e-3``, which YAML takes for a word."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def config_of(
    weights: Weights, found: Mapping[str, Any], given: Mapping[str, Any], *, quantiles_only: bool = True
) -> ModelConfig:
    """Make the configuration: what was given goes before what was found.

    With `quantiles_only` no distribution may be asked for: the old weights forecast quantiles.

    Raises
    ------
    ConfigError
        When a size is known from neither, naming all that are missing; and for sizes that cannot work.
    """
    sizes = {name: value for name, value in found.items() if value is not None} | checked(given)
    if quantiles_only and sizes.get("head", HEADS[0]) != HEADS[0]:
        raise ConfigError.head_needs_training(str(sizes["head"]))
    asked = {name for name, value in found.items() if value is None} | set(NEEDED)
    unknown = [name for name in FIELDS if name in asked and name not in sizes]
    if unknown:
        raise ConfigError.size_unknown(weights.path, unknown)
    try:
        return ModelConfig(**sizes)
    except TypeError:  # a number where a list is expected, or the other way round
        raise ConfigError.wrong_size_types(sizes) from None


def module_of(config: ModelConfig) -> Callable[[], ResumableModule]:
    """Give what makes an untrained network of a configuration, in its LightningModule."""
    return lambda: TFTModule(config.to_dict(), seed=0)


def levels_of(count: int, default: tuple[float, ...], given: Mapping[str, Any], library: str) -> tuple[Any, list[str]]:
    """Give the quantile levels of a head with `count` rows, None when they must be asked for; and what was assumed."""
    if "quantiles" in given:
        return given["quantiles"], []
    if count == len(default):
        levels = ", ".join(map(str, default))
        return default, [f"quantile levels {levels} are assumed, {library} default for {count}; no tensor says them"]
    return None, []
