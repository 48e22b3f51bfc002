from __future__ import annotations

from typing import Any

import pytest

from fusecast.compat.lightning_scripts.config import LightningTrainingConfig
from fusecast.errors import ConfigError


def test_the_defaults_are_those_of_the_scripts() -> None:
    known = {
        "hidden_size": 32,
        "num_heads": 4,
        "num_lstm_layers": 1,
        "dropout": 0.1,
        "num_epochs": 100,
        "learning_rate": 0.0005,
        "batch_size": 256,
        "early_stopping_patience": 20,
        "early_stopping_min_delta": 1e-5,
        "lr_scheduler_factor": 0.5,
        "lr_scheduler_patience": 8,
        "window_size": 100,
        "data_path": None,
        "checkpoint_dir": "checkpoints_lightning",
        "random_seed": 42,
        "precision": None,
        "devices": 1,
        "ckpt_path": None,
        "gradient_clip_val": 1.0,
    }
    config = LightningTrainingConfig()
    assert {name: config.to_dict()[name] for name in known} == known


def test_plain_values_make_the_same_config_and_attributes_can_be_set() -> None:
    config = LightningTrainingConfig(hidden_size=64)
    config.num_epochs = 3
    assert LightningTrainingConfig(**config.to_dict()) == config
    assert config.training().max_epochs == 3


def test_every_setting_reaches_the_trainer() -> None:
    config = LightningTrainingConfig(
        learning_rate=0.1, batch_size=3, num_epochs=7, early_stopping_patience=2, early_stopping_min_delta=0.5,
        lr_scheduler_factor=0.25, lr_scheduler_patience=1, gradient_clip_val=None, precision="bf16", accelerator="cpu",
        devices=2, num_nodes=3, random_seed=5, logger="csv", checkpoint_minutes=1.5, checkpoint_steps=9,
    )  # fmt: skip
    training = config.training()
    assert (training.learning_rate, training.batch_size, training.max_epochs) == (0.1, 3, 7)
    assert (training.early_stopping_patience, training.early_stopping_min_delta) == (2, 0.5)
    assert (training.lr_scheduler_factor, training.lr_scheduler_patience) == (0.25, 1)
    assert (training.gradient_clip, training.precision, training.accelerator) == (None, "bf16", "cpu")
    assert (training.devices, training.num_nodes, training.seed, training.logger) == (2, 3, 5, "csv")
    assert (training.checkpoint_minutes, training.checkpoint_steps) == (1.5, 9)


def test_overrides_are_read_with_their_types() -> None:
    config = LightningTrainingConfig.with_overrides(
        ["num_epochs=1", "learning_rate=1e-3", "precision=bf16", "--ckpt_path=last", "early_stopping_patience=null"]
    )
    assert (config.num_epochs, config.learning_rate, config.precision) == (1, 0.001, "bf16")
    assert (config.ckpt_path, config.early_stopping_patience) == ("last", None)


def test_a_misspelt_override_is_refused_with_the_right_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'num_epochs'"):
        LightningTrainingConfig.with_overrides(["num_epoch=1"])
    with pytest.raises(ConfigError, match="name=value"):
        LightningTrainingConfig.with_overrides(["fast"])


def test_a_setting_that_does_not_exist_cannot_be_set() -> None:
    config = LightningTrainingConfig()
    with pytest.raises(ConfigError, match="no option 'num_epoch'\nHint: did you mean 'num_epochs'"):
        config.num_epoch = 3  # type: ignore[attr-defined]
    config.num_epochs = 3
    assert config.training().max_epochs == 3


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", -1.0), ("num_epochs", "2"), ("random_seed", -1), ("gradient_clip_val", 0)]
)
def test_a_setting_out_of_its_range_is_named_as_in_the_scripts(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be a .*, not {value!r}$"):
        LightningTrainingConfig(**{name: value}).training()
