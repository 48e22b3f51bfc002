from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fusecast.errors import ConfigError
from fusecast.training.config import EPOCH_CAP, TrainingConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", "fast"),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("max_epochs", None),
        ("max_steps", 0),
        ("max_minutes", -1.0),
        ("windows_per_epoch", 0),
        ("early_stopping_patience", -1),
        ("early_stopping_min_delta", -0.1),
        ("lr_scheduler_factor", 1.0),
        ("weight_decay", -1e-3),
        ("gradient_clip", 0.0),
        ("precision", 8),
        ("accelerator", "abacus"),
        ("logger", "tensorbord"),
        ("seed", -1),
        ("num_workers", -1),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        TrainingConfig(**{name: value})


def test_a_misspelt_name_is_met_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        TrainingConfig(logger="tensorbord")
    with pytest.raises(ConfigError, match="start cannot be 'keras'\nHint: there are 'paper', 'torch'"):
        TrainingConfig(start="keras")


@pytest.mark.parametrize("precision", [None, 32, "32", 16, "bf16", "bf16-mixed", "64"])
def test_precisions_are_spelt_as_users_spell_them(precision: Any) -> None:
    assert TrainingConfig(precision=precision).precision == precision


def test_plain_values_make_the_same_config_again() -> None:
    config = TrainingConfig(learning_rate=0.1, max_minutes=2.5, precision="bf16")
    assert TrainingConfig(**config.to_dict()) == config


def test_an_epoch_is_all_windows_unless_they_are_very_many() -> None:
    assert TrainingConfig().epoch_size(500) == 500
    assert TrainingConfig().epoch_size(290_000) == EPOCH_CAP
    assert TrainingConfig(windows_per_epoch=100).epoch_size(500) == 100
    assert TrainingConfig(windows_per_epoch=10**9).epoch_size(290_000) == 290_000


def test_reading_a_config_loads_no_torch() -> None:
    code = "import sys, fusecast.training.config; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
