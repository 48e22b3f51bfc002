"""LightningTrainingConfig: the settings of the scripts. Loads no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fusecast.config import TrainingConfig, parse_yaml
from fusecast.errors import ConfigError
from fusecast.errors.config import InvalidOptionsError
from fusecast.model.config import ModelConfig

NETWORK_SETTINGS = ("hidden_size", "num_heads", "num_lstm_layers", "dropout")
SCRIPT_NAMES = {"max_epochs": "num_epochs", "seed": "random_seed", "gradient_clip": "gradient_clip_val"}
"""Options of TrainingConfig that have another name in the scripts."""
DEFAULTS = TrainingConfig()


@dataclass
class LightningTrainingConfig:
    """How ``train_tft_lightning`` trains. Attributes can be set; they are checked when training starts."""

    hidden_size: int = ModelConfig.hidden_size
    num_heads: int = ModelConfig.num_heads
    num_lstm_layers: int = ModelConfig.num_lstm_layers
    dropout: float = ModelConfig.dropout
    num_epochs: int = 100
    learning_rate: float = 0.0005
    batch_size: int = 256
    """Windows a step, on each device."""
    early_stopping_patience: int | None = 20
    early_stopping_min_delta: float = 1e-5
    lr_scheduler_factor: float = DEFAULTS.lr_scheduler_factor
    lr_scheduler_patience: int = 8
    window_size: int = 100
    """Steps of history before the step that is forecast."""
    data_path: str | None = None
    """A CSV, Parquet or Arrow table; None is the bundled data set."""
    checkpoint_dir: str = "checkpoints_lightning"
    random_seed: int = DEFAULTS.seed
    precision: str | int | None = None
    """None: mixed on CUDA (bf16 where the card has it, else 16), 32 elsewhere. "32" turns it off."""
    devices: int = DEFAULTS.devices
    ckpt_path: str | None = None
    """A checkpoint to resume from; ``"last"`` is the newest intact one in `checkpoint_dir`."""
    gradient_clip_val: float | None = DEFAULTS.gradient_clip
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

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting; raise a ConfigError for a name that is none, since it would change nothing."""
        self._check_name(name)
        super().__setattr__(name, value)

    @classmethod
    def with_overrides(cls, texts: list[str]) -> LightningTrainingConfig:
        """Return a config from ``name=value`` texts, such as ``num_epochs=1``.

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
            cls._check_name(name)
            values[name] = parse_yaml(value)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``LightningTrainingConfig(**config.to_dict())`` is the same config."""
        return asdict(self)

    def training(self) -> TrainingConfig:
        """Return the settings as the options of the package's trainer.

        Raises
        ------
        ConfigError
            Naming the setting that is out of its range.
        """
        settings = {name: SCRIPT_NAMES.get(name, name) for name in TrainingConfig.model_fields}
        known = {field.name for field in fields(LightningTrainingConfig)}
        values = {name: getattr(self, setting) for name, setting in settings.items() if setting in known}
        try:
            return TrainingConfig(**values)
        except InvalidOptionsError as error:
            names = {f"training.{name}": setting for name, setting in settings.items()}
            raise InvalidOptionsError({names[name]: problem for name, problem in error.problems.items()}) from None

    def checkpoint_to_resume(self) -> Path | None:
        """Return the file to resume from, or the folder of checkpoints; None to start from the beginning."""
        if self.ckpt_path is None:
            return None
        return Path(self.checkpoint_dir if self.ckpt_path == "last" else self.ckpt_path)

    @classmethod
    def _check_name(cls, name: str) -> None:
        names = [field.name for field in fields(cls)]
        if name not in names:
            raise ConfigError.unknown("option", name, names)
