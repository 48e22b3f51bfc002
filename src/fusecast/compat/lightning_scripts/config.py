"""LightningTrainingConfig: the settings of the scripts, and how they are read from any object. Loads no torch."""

from __future__ import annotations

import inspect
import os
import reprlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from fusecast.config import NetworkConfig, TrainingConfig
from fusecast.errors import ConfigError
from fusecast.errors.config import InvalidOptionsError
from fusecast.io.documents import parse_yaml
from fusecast.model.config import ModelConfig

NETWORK_SETTINGS = ("hidden_size", "num_heads", "num_lstm_layers", "dropout")
SCRIPT_NAMES = {"max_epochs": "num_epochs", "seed": "random_seed", "gradient_clip": "gradient_clip_val"}
"""Options of TrainingConfig that have another name in the scripts."""
PATHS = {"data_path": "a path or none", "checkpoint_dir": "a path", "ckpt_path": "a path, 'last' or none"}
"""Settings that are paths, and what they may be."""
LARGEST_SEED = 2**32 - 1  # of NumPy's generators, which Lightning seeds too
DEFAULTS = TrainingConfig()


class LightningTrainingConfig:
    """How ``train_tft_lightning`` trains. Values that the instance lacks are those of its class.

    The `settings` can be passed by name, set as attributes, or written into a subclass, as in ``config_lightning.py``.
    They are checked when training starts.
    """

    hidden_size: int = ModelConfig.hidden_size  # width of the network
    num_heads: int = ModelConfig.num_heads  # attention heads; they must divide the width
    num_lstm_layers: int = ModelConfig.num_lstm_layers  # of the encoder, and of the decoder
    dropout: float = ModelConfig.dropout  # share of units dropped in training
    num_epochs: int = 100  # epochs at most
    learning_rate: float = 0.0005  # at first
    batch_size: int = 256
    """Windows a step, on each device."""
    early_stopping_patience: int | None = 20  # epochs without improvement; None never stops early
    early_stopping_min_delta: float = 1e-5  # smallest decrease of the loss that counts as an improvement
    lr_scheduler_factor: float = DEFAULTS.lr_scheduler_factor  # of the learning rate, where the loss no longer falls
    lr_scheduler_patience: int = 8  # epochs without improvement before that
    window_size: int = 100
    """Steps of history before the step that is forecast."""
    data_path: str | Path | None = None
    """A CSV, Parquet or Arrow table; None is the bundled data set."""
    checkpoint_dir: str | Path = "checkpoints_lightning"  # folder of all files that are written
    random_seed: int = DEFAULTS.seed  # of weights, order of windows and dropout
    precision: str | int | None = None
    """None: mixed on CUDA (bf16 where the card has it, else 16), 32 elsewhere. "32" turns it off."""
    devices: int = DEFAULTS.devices  # on each machine
    ckpt_path: str | Path | None = None
    """A checkpoint to resume from; ``"last"`` is the newest intact one in `checkpoint_dir`."""
    gradient_clip_val: float | None = DEFAULTS.gradient_clip  # largest norm; None does not clip
    accelerator: str = DEFAULTS.accelerator
    """auto (CUDA, else MPS, else CPU), cpu, cuda or mps."""
    num_nodes: int = DEFAULTS.num_nodes
    """Machines that train together."""
    logger: str = DEFAULTS.logger
    """tensorboard, csv, mlflow, wandb or none."""
    checkpoint_minutes: float | None = DEFAULTS.checkpoint_minutes
    """Minutes between writings of last.ckpt within an epoch."""
    checkpoint_steps: int | None = DEFAULTS.checkpoint_steps
    """The same in steps."""

    def __init__(self, **settings: Any) -> None:
        for name, value in settings.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting; raise a ConfigError for a name that is none, since it would change nothing."""
        if name not in SETTINGS:
            raise ConfigError.unknown("option", name, SETTINGS)
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LightningTrainingConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # attributes can be set

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    @classmethod
    def with_overrides(cls, texts: list[str]) -> LightningTrainingConfig:
        """Return a config from ``name=value`` texts, see :func:`parse_overrides`."""
        return cls(**parse_overrides(texts))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``LightningTrainingConfig(**config.to_dict())`` has the same settings."""
        values = {name: getattr(self, name) for name in SETTINGS}
        return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()}

    def check(self) -> LightningTrainingConfig:
        """Return the settings with the types that they are declared with.

        Raises
        ------
        ConfigError
            Naming the settings that have another type, or are out of their range.
        """
        values = {
            name: value.item() if isinstance(value, np.generic) else value for name, value in self.to_dict().items()
        }
        problems: dict[str, str] = {}
        for section, names in SECTIONS.items():
            try:
                checked = section(**{option: values[name] for option, name in names.items()})
            except InvalidOptionsError as error:
                problems |= {names[name.rpartition(".")[2]]: problem for name, problem in error.problems.items()}
            else:
                values |= {name: getattr(checked, option) for option, name in names.items()}
        for name, kind in (("learning_rate", "a number above 0"), ("batch_size", "a whole number of at least 1")):
            if values[name] is None:  # which the package takes for a choice by the table
                problems[name] = f"must be {kind}, not None"
        window_size, seed = values["window_size"], values["random_seed"]
        if isinstance(window_size, bool) or not isinstance(window_size, int) or window_size < 1:
            problems["window_size"] = f"must be a whole number of at least 1, not {window_size!r}"
        if "random_seed" not in problems and seed > LARGEST_SEED:
            problems["random_seed"] = f"must be a whole number of at most {LARGEST_SEED}, not {seed}"
        for name, expected in PATHS.items():
            path = values[name]
            if not (isinstance(path, str) and path) and not (path is None and "none" in expected):
                problems[name] = f"must be {expected}, not {reprlib.repr(path)}"
        if problems:
            raise InvalidOptionsError({name: problems[name] for name in SETTINGS if name in problems})
        return LightningTrainingConfig(**values)

    def training(self) -> TrainingConfig:
        """Return the settings as the options of the package's trainer; see :meth:`check` for its errors."""
        checked = self.check()
        options = {option: getattr(checked, name) for option, name in SECTIONS[TrainingConfig].items()}
        return TrainingConfig(average_weights=False, min_epoch_steps=1, max_epoch_steps=None, **options)

    def checkpoint_to_resume(self) -> Path | None:
        """Return the file to resume from, or the folder of checkpoints; None to start from the beginning."""
        if self.ckpt_path is None:
            return None
        return Path(self.checkpoint_dir if str(self.ckpt_path) == "last" else self.ckpt_path)


SETTINGS = tuple(LightningTrainingConfig.__annotations__)
SECTIONS: dict[type[TrainingConfig | NetworkConfig], dict[str, str]] = {
    TrainingConfig: {
        option: name for option in TrainingConfig.model_fields if (name := SCRIPT_NAMES.get(option, option)) in SETTINGS
    },
    NetworkConfig: {name: name for name in NETWORK_SETTINGS},
}
"""The names of settings by the options of the package that check them."""


def read_settings(config: Any = None, defaults: Any = LightningTrainingConfig) -> LightningTrainingConfig:
    """Return the settings that any object, or class, has as attributes, checked; those of `defaults` where it has none.

    Raises
    ------
    ConfigError
        If there is no setting, a setting is invalid, or an attribute of a subclass is a misspelt setting.
    """
    if config is None:
        config, defaults = defaults, LightningTrainingConfig
    config = make_instance(config)
    if isinstance(config, LightningTrainingConfig):
        for name in find_unknown_attributes(config):
            if find_similar_setting(name):
                raise ConfigError.unknown("option", name, SETTINGS)
        return config.check()
    values = {name: getattr(config, name) for name in SETTINGS if hasattr(config, name)}
    if not values:
        raise ConfigError.no_settings(type(config).__name__)
    return LightningTrainingConfig(**{**read_settings(defaults).to_dict(), **values}).check()


def make_instance(config: Any) -> Any:
    """Return an instance of a class that needs no arguments; anything else as it is."""
    try:
        return config() if isinstance(config, type) else config
    except TypeError:
        return config


def find_unknown_attributes(config: object) -> list[str]:
    """Return the public attributes with plain values that are no settings, and so change nothing."""
    names = [name for name in dir(config) if not name.startswith("_") and name not in SETTINGS]
    stored = [name for name in names if not isinstance(inspect.getattr_static(config, name, None), property)]
    return [name for name in stored if isinstance(getattr(config, name, ...), int | float | str | Path | None)]


def find_similar_setting(name: str) -> str | None:
    """Return the setting that was probably meant by another name."""
    similar = get_close_matches(name.lower(), SETTINGS, n=1, cutoff=0.8)
    return SCRIPT_NAMES.get(name) or next(iter(similar), None)


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """Return the values of ``name=value`` texts, such as ``num_epochs=1``.

    Raises
    ------
    ConfigError
        If a text has another form, or names no setting.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("--")
        if not equals:
            raise ConfigError.not_an_assignment(text)
        if name not in SETTINGS:
            raise ConfigError.unknown("option", name, SETTINGS)
        values[name] = _parse_value(name, value.strip())
    return values


def _parse_value(name: str, text: str) -> Any:
    if text in ("", "None", "null"):
        return None
    if name in PATHS:  # a folder may be named 2024-01-01
        return text
    try:
        return parse_yaml(text)
    except ValueError:
        return text
