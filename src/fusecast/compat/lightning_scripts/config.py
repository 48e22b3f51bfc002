"""LightningTrainingConfig: the settings that the scripts have always had. Loads no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fusecast.config import TrainingConfig, parse_yaml
from fusecast.errors import ConfigError
from fusecast.errors.config import InvalidOptionsError

NETWORK = ("hidden_size", "num_heads", "num_lstm_layers", "dropout")
KNOWN_AS = {"max_epochs": "num_epochs", "seed": "random_seed", "gradient_clip": "gradient_clip_val"}
"""Settings of the package's trainer that have another name here."""


@dataclass
class LightningTrainingConfig:
    """How ``train_tft_lightning`` trains. Attributes can be set; they are checked when training starts."""

    hidden_size: int = 32
    num_heads: int = 4
    num_lstm_layers: int = 1
    dropout: float = 0.1
    num_epochs: int = 100
    learning_rate: float = 0.0005
    batch_size: int = 256
    """Windows a step, on each device."""
    early_stopping_patience: int | None = 20
    early_stopping_min_delta: float = 1e-5
    lr_scheduler_factor: float = 0.5
    lr_scheduler_patience: int = 8
    window_size: int = 100
    """Steps of history before the step that is forecast."""
    data_path: str | None = None
    """A CSV, Parquet or Arrow table; None is the data set that travels with the package."""
    checkpoint_dir: str = "checkpoints_lightning"
    random_seed: int = 42
    precision: str | int | None = None
    """None: mixed by itself on CUDA (bf16 where the card has it, else 16), 32 elsewhere. "32" turns it off."""
    devices: int = 1
    ckpt_path: str | None = None
    """A checkpoint to go on from; ``"last"`` is the newest intact one in `checkpoint_dir`."""
    gradient_clip_val: float | None = 1.0
    accelerator: str = "auto"
    """auto (CUDA, else MPS, else CPU), cpu, cuda or mps."""
    num_nodes: int = 1
    """Machines that train together."""
    logger: str = "tensorboard"
    """tensorboard, csv, mlflow, wandb or none."""
    checkpoint_minutes: float | None = 5.0
    """Minutes between writings of last.ckpt within an epoch."""
    checkpoint_steps: int | None = None
    """The same in steps."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting; a name that is none would change nothing, so that it is an error."""
        names = [field.name for field in fields(self)]
        if name not in names:
            raise ConfigError.unknown_option(name, names)
        super().__setattr__(name, value)

    @classmethod
    def with_overrides(cls, texts: list[str]) -> LightningTrainingConfig:
        """Make a config from ``name=value`` texts, such as ``num_epochs=1``.

        Raises
        ------
        ConfigError
            If a text has another form, or names no setting.
        """
        names = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            name = name.strip().removeprefix("--")
            if not equals:
                raise ConfigError.not_an_assignment(text)
            if name not in names:
                raise ConfigError.unknown_option(name, names)
            values[name] = parse_yaml(value)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``LightningTrainingConfig(**config.to_dict())`` gives the same config."""
        return asdict(self)

    def training(self) -> TrainingConfig:
        """Say the same to the package's trainer.

        Raises
        ------
        ConfigError
            Naming the setting that is out of its range.
        """
        settings = {field.name for field in fields(LightningTrainingConfig)}
        names = {name: KNOWN_AS.get(name, name) for name in TrainingConfig.model_fields}
        try:
            return TrainingConfig(**{name: getattr(self, here) for name, here in names.items() if here in settings})
        except InvalidOptionsError as error:
            problems = {name.removeprefix("training."): problem for name, problem in error.problems.items()}
            raise InvalidOptionsError({names.get(name, name): text for name, text in problems.items()}) from None

    def checkpoint_to_resume(self) -> Path | None:
        """Where to go on from: a file, or the folder of checkpoints; None to start anew."""
        if self.ckpt_path is None:
            return None
        return Path(self.checkpoint_dir if self.ckpt_path == "last" else self.ckpt_path)
