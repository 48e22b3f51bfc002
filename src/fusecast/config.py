"""RunConfig: one YAML file that alone reproduces a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from fusecast.data.splits import SplitConfig
from fusecast.errors import ConfigError
from fusecast.features.config import FeatureConfig
from fusecast.model.config import HEADS
from fusecast.training.config import TrainingConfig


def _only_fields_of(section: type[Any]) -> Callable[[Any], Any]:
    """Refuse a key that a dataclass does not have, instead of ignoring it."""
    names = [field.name for field in fields(section)]

    def check(value: Any) -> Any:
        if isinstance(value, Mapping):
            for name in value:
                if name not in names:
                    raise ConfigError.unknown_option(str(name), names)
        return value

    return check


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_names(cls, value: Any) -> Any:
        for name in value if isinstance(value, Mapping) else ():
            if name not in cls.model_fields:
                raise ConfigError.unknown_option(str(name), list(cls.model_fields))
        return value


class TableConfig(_Section):
    """Which column of the table is what."""

    id: str | None = "unique_id"
    time: str = "ds"
    target: tuple[str, ...] = ("y",)
    static: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    frequency: str | None = None
    time_zone: str | None = None
    """Zone in which times are read; None is that of the column. Naive times are taken for its wall time."""

    @field_validator("target", "static", "known", "observed", "categorical", mode="before")
    @classmethod
    def _one_name_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class NetworkConfig(_Section):
    """The sizes of the network that do not follow from the data."""

    hidden_size: int = 32
    num_heads: int = 4
    num_lstm_layers: int = 1
    dropout: float = 0.1
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    head: str = "quantile"
    """quantile, or a distribution: normal, student_t, negative_binomial, tweedie."""
    tweedie_power: float = 1.5
    """Power of the mean in the variance of tweedie."""

    @model_validator(mode="after")
    def _refuse_before_any_table_is_read(self) -> Self:
        if self.head not in HEADS:
            raise ConfigError.not_one_of("network.head", self.head, HEADS)
        return self


class RunConfig(_Section):
    """Everything that a run is made of. Unknown names are errors, never ignored."""

    data: str | None = None
    """Path of the table; None where a frame was handed over in Python."""
    horizon: int = Field(ge=1)
    lookback: int = Field(ge=1)
    table: TableConfig = TableConfig()
    split: Annotated[SplitConfig, BeforeValidator(_only_fields_of(SplitConfig))] = SplitConfig()
    features: Annotated[FeatureConfig, BeforeValidator(_only_fields_of(FeatureConfig))] = FeatureConfig()
    network: NetworkConfig = NetworkConfig()
    training: Annotated[TrainingConfig, BeforeValidator(_only_fields_of(TrainingConfig))] = TrainingConfig()

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check plain values.

        Raises
        ------
        ConfigError
            Naming every option that is unknown, missing or out of bounds.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = [
                (".".join(map(str, e["loc"])), "it must be given" if e["type"] == "missing" else e["msg"])
                for e in error.errors()
            ]
            raise ConfigError.invalid_options(problems) from None

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a YAML file, with nested overrides on top."""
        return cls.parse(merged(read_yaml(path), overrides or {}))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML; inverse of :meth:`parse`."""
        return self.model_dump(mode="json")

    def write(self, path: Path) -> None:
        """Write the YAML file that reproduces the run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False), encoding="utf-8")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the options of a YAML file, unchecked."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError.unreadable(path, error.strerror or str(error)) from None
    except yaml.YAMLError as error:
        raise ConfigError.unreadable(path, str(error)) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError.unreadable(path, "it holds no options, but " + type(values).__name__)
    return values


def merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested overrides over nested options; neither is changed."""
    result = dict(base)
    for name, value in overrides.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result
