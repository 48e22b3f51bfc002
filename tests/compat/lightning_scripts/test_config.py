from __future__ import annotations

import importlib.util
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fusecast.compat.lightning_scripts.config import LightningTrainingConfig, find_unknown_attributes, read_settings
from fusecast.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


def load_root_file() -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_at_the_root", ROOT / "config_lightning.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_at_the_root_names_every_setting_with_the_default_of_the_package() -> None:
    at_the_root = load_root_file().LightningTrainingConfig
    assert at_the_root().to_dict() == LightningTrainingConfig().to_dict()
    assert set(vars(at_the_root)) >= set(LightningTrainingConfig().to_dict())


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


class Plain:
    num_epochs = 3
    data_path = Path("table.csv")


class Old:
    def __init__(self) -> None:
        self.num_epochs = 3
        self.data_path = "table.csv"


@dataclass
class Data:
    num_epochs: int = 3
    data_path: str = "table.csv"


@dataclass
class Derived(load_root_file().LightningTrainingConfig):  # type: ignore[misc]
    num_epochs: int = 3
    data_path: str = "table.csv"


class Body(LightningTrainingConfig):
    num_epochs = 3
    data_path = Path("table.csv")


@pytest.mark.parametrize(
    "config",
    [
        Plain, Plain(), Old, Old(), Data, Data(), Derived, Derived(), Body, Body(),
        SimpleNamespace(num_epochs=3, data_path="table.csv"), Namespace(num_epochs=np.int64(3), data_path="table.csv"),
    ],
)  # fmt: skip
def test_any_object_or_class_with_settings_is_a_config(config: Any) -> None:
    settings = read_settings(config)
    assert (settings.num_epochs, settings.data_path, settings.hidden_size) == (3, "table.csv", 32)
    assert type(settings.num_epochs) is int


def test_what_a_config_lacks_is_taken_from_the_defaults() -> None:
    class Defaults(LightningTrainingConfig):
        num_epochs = 7
        hidden_size = 64

    assert read_settings(None, Defaults).num_epochs == 7
    assert read_settings(SimpleNamespace(num_epochs=3), Defaults) == LightningTrainingConfig(
        num_epochs=3, hidden_size=64
    )
    assert read_settings(SimpleNamespace(num_epochs=3), SimpleNamespace(hidden_size=64)).hidden_size == 64
    Defaults.num_epochs = 8  # of the class, after it was made
    assert read_settings(None, Defaults).num_epochs == 8
    assert Defaults(num_epochs=9).training().max_epochs == 9


def test_an_attribute_that_is_a_misspelt_setting_is_refused_in_a_subclass_and_named_elsewhere() -> None:
    class Misspelt(LightningTrainingConfig):
        num_epoch = 3

    class Capitals(LightningTrainingConfig):
        NUM_EPOCHS = 3

    for wrong in (Misspelt, Misspelt(), Capitals):
        with pytest.raises(ConfigError, match=r"there is no option '\w+'\nHint: did you mean|available are"):
            read_settings(wrong)

    class Extended(LightningTrainingConfig):
        experiment = "first"

        @property
        def twice(self) -> int:
            return 2 * self.num_epochs

        def describe(self) -> str:
            return self.experiment

    assert read_settings(Extended).num_epochs == 100
    assert find_unknown_attributes(Extended()) == ["experiment"]
    assert find_unknown_attributes(SimpleNamespace(num_epochs=3, num_epoch=4, device="cpu")) == ["device", "num_epoch"]


@pytest.mark.parametrize("config", [{"num_epochs": 3}, "config.json", 3, object()])
def test_an_object_without_settings_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"a \w+ has none of them\nHint: pass a LightningTrainingConfig"):
        read_settings(config)


WRONG = ["128", None, [32], True, 1.5, float("nan"), {"a": 1}]
NULLABLE = {
    "early_stopping_patience", "data_path", "precision", "ckpt_path", "gradient_clip_val", "checkpoint_minutes",
    "checkpoint_steps",
}  # fmt: skip
FLOATS = {
    "dropout", "learning_rate", "early_stopping_min_delta", "lr_scheduler_factor", "gradient_clip_val",
    "checkpoint_minutes",
}  # fmt: skip


@pytest.mark.parametrize("name", LightningTrainingConfig().to_dict())
def test_a_value_of_another_type_is_refused_with_the_name_of_the_setting(name: str) -> None:
    for value in WRONG:
        right = (value is None and name in NULLABLE) or (value == 1.5 and name in FLOATS - {"dropout"})
        right |= value == "128" and name in ("data_path", "checkpoint_dir", "ckpt_path")
        if right and name != "lr_scheduler_factor":
            read_settings(SimpleNamespace(**{name: value}))
            continue
        with pytest.raises(ConfigError, match=rf"^{name} (must|cannot) "):
            read_settings(SimpleNamespace(**{name: value}))


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        LightningTrainingConfig(window_size="6", num_epochs=None, random_seed=2**32, checkpoint_dir="").check()
    assert [line.split()[0] for line in str(caught.value).splitlines()] == [
        "num_epochs", "window_size", "checkpoint_dir", "random_seed",
    ]  # fmt: skip


def test_paths_are_plain_text_in_the_dictionary() -> None:
    config = LightningTrainingConfig(data_path=Path("a", "b.csv"), checkpoint_dir=Path("c"), ckpt_path=Path("last"))
    assert [config.to_dict()[name] for name in ("data_path", "checkpoint_dir", "ckpt_path")] == [
        str(Path("a", "b.csv")), "c", "last",
    ]  # fmt: skip
    assert LightningTrainingConfig(**config.to_dict()) == config
    assert config.checkpoint_to_resume() == Path("c")


def test_paths_and_none_in_overrides_are_what_they_look_like() -> None:
    config = LightningTrainingConfig.with_overrides(
        ["checkpoint_dir=2024-01-01", "data_path=12.csv", "ckpt_path=None", "gradient_clip_val=None", "num_epochs=[1"]
    )
    assert (config.checkpoint_dir, config.data_path, config.ckpt_path) == ("2024-01-01", "12.csv", None)
    assert config.gradient_clip_val is None
    with pytest.raises(ConfigError, match=r"^num_epochs must be .*, not '\[1'$"):
        config.check()
