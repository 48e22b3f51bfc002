"""A run's configuration: what is refused, and what survives files of this and of earlier versions."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.helpers.config_options import all_options

from fusecast.config import (
    MAX_EPOCH_WINDOWS,
    FeatureConfig,
    NetworkConfig,
    RunConfig,
    SplitConfig,
    TableConfig,
    TrainingConfig,
)
from fusecast.errors import ConfigError
from fusecast.errors.config import InvalidOptionsError
from fusecast.io.documents import parse_yaml
from fusecast.io.option_files import read_options
from fusecast.model.config import ModelConfig

SIZES = {"horizon": 2, "lookback": 5}


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("learning_rate", 0.0, "a number above 0 or none"),
        ("learning_rate", float("nan"), "a number above 0 or none"),
        ("learning_rate", float("inf"), "a number above 0 or none"),
        ("learning_rate", "fast", "a number above 0 or none"),
        ("batch_size", 0, "a whole number of at least 1 or none"),
        ("batch_size", 2.5, "a whole number of at least 1 or none"),
        ("batch_size", True, "a whole number of at least 1 or none"),
        ("batch_size", "16", "a whole number of at least 1 or none"),
        ("max_epochs", None, "a whole number of at least 1"),
        ("max_steps", 0, "a whole number of at least 1 or none"),
        ("max_minutes", -1.0, "a number above 0 or none"),
        ("windows_per_epoch", 0, "a whole number of at least 1 or none"),
        ("early_stopping_patience", -1, "a whole number of at least 0 or none"),
        ("early_stopping_min_delta", -0.1, "a number of at least 0"),
        ("lr_scheduler_factor", 1.0, "a number above 0 and below 1"),
        ("weight_decay", -1e-3, "a number of at least 0"),
        ("gradient_clip", 0.0, "a number above 0 or none"),
        ("seed", -1, "a whole number of at least 0 and of at most 4,294,967,295"),
        ("num_workers", -1, "a whole number of at least 0 and of at most 1,000"),
        ("deterministic", "maybe", "true or false"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        TrainingConfig(**{name: value})
    assert str(refusal.value) == f"training.{name} must be {allowed}, not {value!r}"


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        (TrainingConfig, {"precision": 8}, r"training.precision cannot be 8\nHint: available are '16', '16-mixed'"),
        (
            TrainingConfig,
            {"accelerator": "abacus"},
            "training.accelerator cannot be 'abacus'\nHint: available are 'auto'",
        ),
        (TrainingConfig, {"logger": "tensorbord"}, r"training.logger cannot be .*\nHint: did you mean 'tensorboard'"),
        (
            TrainingConfig,
            {"weight_init": "keras"},
            "weight_init cannot be 'keras'\nHint: available are 'paper', 'torch'",
        ),
        (TrainingConfig, {"momentum": 1}, "training.momentum is not an option\nHint: available are"),
        (NetworkConfig, {"hidden": 1}, "network.hidden is not an option\nHint: did you mean 'hidden_size'"),
        (NetworkConfig, {"head": "gaussian"}, "network.head cannot be 'gaussian'\nHint: .* use 'normal'"),
        (NetworkConfig, {"head": "poisson"}, "network.head cannot be 'poisson'\nHint: available are"),
        (
            TrainingConfig,
            {"precision": "bf16-true"},
            "training.precision cannot be 'bf16-true'\nHint: it is not supported; use 'bf16-mixed' on a GPU, or 32$",
        ),
        (TrainingConfig, {"precision": "16-true"}, "cannot be '16-true'\nHint: it is not supported; use '16-mixed' or"),
        (TrainingConfig, {"accelerator": "tpu"}, "accelerator cannot be 'tpu'\nHint: .* use 'cuda', 'mps' or 'cpu'"),
        (NetworkConfig, {"num_heads": 3}, "num_heads must divide hidden_size: 32 is not divisible by 3"),
        (NetworkConfig, {"dropout": 1.5}, r"dropout must lie in \[0, 1\), not 1.5"),
        (NetworkConfig, {"quantiles": [0.9, 0.1]}, "quantiles must increase"),
        (NetworkConfig, {"quantiles": ["low"]}, "network.quantiles must be a list of numbers, not 'low'"),
        (FeatureConfig, {"calendar": ["weekday"]}, "features.calendar cannot be 'weekday'\nHint: available are"),
        (FeatureConfig, {"calendar": "all"}, "features.calendar cannot be 'all'"),
        (FeatureConfig, {"calendar": 3}, "features.calendar cannot be 3"),
        (FeatureConfig, {"target_scaling": "minmax"}, "features.target_scaling cannot be 'minmax'"),
        (FeatureConfig, {"window_scaling": "first"}, "features.window_scaling cannot be 'first'"),
        (TableConfig, {"known": 3}, "table.known must be a list of texts, not 3"),
        (TableConfig, {"time": None}, "table.time must be a text, not None"),
        (SplitConfig, {"test": 1.0}, r"split.test must lie in \[0, 1\), not 1.0"),
        (SplitConfig, {"test": -1}, r"split.test must lie in 0, 1, 2, \.\.\. horizons, not -1"),
        (SplitConfig, {"validation": True}, "split.validation must lie in fractions, whole numbers of horizons or"),
        (SplitConfig, {"validation": 0.6, "test": 0.5}, "split.validation and test together must lie in"),
        (RunConfig, SIZES | {"training": 3}, "training must be a section of options, not 3"),
        (RunConfig, SIZES | {"training": {"batch_size": 0}}, "^training.batch_size must be a whole number"),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_its_full_name(
    section: type[Any], options: dict[str, Any], message: str
) -> None:
    for build in (lambda: section(**options), lambda: section.model_validate(options)):
        with pytest.raises(ConfigError, match=message):
            build()


def test_several_window_scalings_are_different_kinds() -> None:
    features = RunConfig.parse({"horizon": 1, "features": {"window_scaling": ["mean", "last"]}}).features
    assert features.window_scalings == ("mean", "last")
    assert FeatureConfig(window_scaling=["last"]) == FeatureConfig(window_scaling="last")
    with pytest.raises(ConfigError, match="different kinds"):
        FeatureConfig(window_scaling=["mean", "mean"])
    with pytest.raises(ConfigError, match="cannot be 'median'"):
        FeatureConfig(window_scaling=["mean", "median"])


def test_all_problems_of_a_section_are_reported_together() -> None:
    with pytest.raises(InvalidOptionsError) as refusal:
        RunConfig.parse({"horizon": 0, "lokback": 5})
    assert list(refusal.value.problems) == ["horizon", "lokback"]
    assert "did you mean 'lookback'" in str(refusal.value)
    assert "did you mean 'lookback'" in str(refusal.value)
    assert pickle.loads(pickle.dumps(refusal.value)).problems == refusal.value.problems


def test_keys_that_are_not_text_are_refused_as_unknown_options() -> None:
    with pytest.raises(ConfigError, match=r"training.1 is not an option"):
        RunConfig.parse({**SIZES, "training": {1: 2}})


def test_a_copy_with_changes_is_validated() -> None:
    config = RunConfig(**SIZES)
    assert config.model_copy(update={"horizon": 3}) == RunConfig(horizon=3, lookback=5)
    with pytest.raises(ConfigError, match="horizon must be"):
        config.model_copy(update={"horizon": 0})
    with pytest.raises(ConfigError, match=r"training.sed is not an option"):
        config.training.model_copy(update={"sed": 1})


def test_the_network_has_its_defaults_from_the_model() -> None:
    defaults = {field.name: field.default for field in fields(ModelConfig)}
    for name, value in NetworkConfig():
        assert value == ("auto" if name == "head" else defaults[name])


@pytest.mark.parametrize("precision", [None, 32, "32", 16, "bf16", "bf16-mixed", "64"])
def test_precisions_are_spelt_as_users_spell_them(precision: Any) -> None:
    assert TrainingConfig(precision=precision).precision == precision


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (0.2, 0.2),
        (np.float64(0.2), 0.2),
        (3, 3),
        (0, 0),
        ("2017-01-01", "2017-01-01"),
        (date(2017, 1, 1), "2017-01-01"),
        (datetime(2017, 1, 1, 12), "2017-01-01T12:00:00"),
    ],
)
def test_a_split_is_a_fraction_horizons_or_a_date(size: Any, kept: Any) -> None:
    split = SplitConfig(test=size)
    assert (split.test, type(split.test)) == (kept, type(size) if isinstance(size, int) else type(kept))


def test_one_column_is_a_list_of_one() -> None:
    assert TableConfig(target="y", known=["a"]) == TableConfig(target=("y",), known=("a",))


def test_an_epoch_is_all_windows_unless_they_are_very_many() -> None:
    assert TrainingConfig().epoch_size(500) == 20 * 64
    assert TrainingConfig().epoch_size(5_000) == 5_000
    assert TrainingConfig(min_epoch_steps=1).epoch_size(500) == 500
    assert TrainingConfig().epoch_size(290_000) == 128 * 64
    assert TrainingConfig(devices=2, batch_size=32, max_epoch_steps=10).epoch_size(290_000) == 10 * 2 * 32
    assert TrainingConfig(max_epoch_steps=None).epoch_size(290_000) == MAX_EPOCH_WINDOWS
    assert TrainingConfig(windows_per_epoch=100).epoch_size(500) == 100
    assert TrainingConfig(windows_per_epoch=10**9).epoch_size(290_000) == 290_000


def test_a_config_survives_its_file(tmp_path: Path) -> None:
    config = RunConfig.parse(
        {
            **SIZES,
            "data": "table.csv",
            "table": {"known": ["1e5", "no", "a b"], "time_zone": "Europe/Berlin"},
            "split": {"validation": 3, "test": "2017-01-01"},
            "features": {"calendar": ["hour"], "series_embedding": False},
            "network": {"quantiles": [0.2, 0.8], "head": "normal"},
            "training": {"learning_rate": 1e-5, "max_minutes": 2.5, "precision": "bf16", "weight_init": "paper"},
        }
    )
    config.write(tmp_path / "new" / "run.yaml")
    assert RunConfig.read(tmp_path / "new" / "run.yaml") == config
    assert RunConfig.parse(config.to_dict()) == config
    assert TrainingConfig(**config.training.to_dict()) == config.training
    assert yaml.safe_load((tmp_path / "new" / "run.yaml").read_text())["network"]["quantiles"] == [0.2, 0.8]


def test_later_layers_override_single_options() -> None:
    base = {**SIZES, "training": {"seed": 1, "batch_size": 8}}
    config = RunConfig.parse(base, {"horizon": 3}, {"training": {"seed": 2}})
    assert (config.horizon, config.training.seed, config.training.batch_size) == (3, 2, 8)
    assert base == {**SIZES, "training": {"seed": 1, "batch_size": 8}}


def test_old_names_are_read_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("horizon: 2\nlookback: 5\ntraining:\n  start: paper\n  seed: 3\n")
    config = RunConfig.read(path)
    assert (config.training.weight_init, config.training.seed) == ("paper", 3)
    assert TrainingConfig(start="paper").weight_init == "paper"
    assert "start" not in config.to_dict()["training"]
    with pytest.raises(ConfigError, match="weight_init cannot be 'keras'"):
        TrainingConfig(start="keras")


@pytest.mark.parametrize(("below", "above"), [("start", "weight_init"), ("weight_init", "start")])
def test_old_and_current_names_override_each_other(below: str, above: str) -> None:
    config = RunConfig.parse({**SIZES, "training": {below: "torch"}}, {"training": {above: "paper"}})
    assert config.training.weight_init == "paper"


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("-2E5", -2e5), ("1.5e3", 1500.0), ("'1e-3'", "1e-3"), ("1e", "1e"), ("3", 3)]
)
def test_numbers_with_an_exponent_are_numbers(text: str, value: Any) -> None:
    parsed = parse_yaml(text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"), [("[1", "cannot be read"), ("- 1", "it holds no options, but list"), (None, "cannot be read")]
)
def test_a_file_that_holds_no_options_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_options(path)


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    config = RunConfig.parse({**SIZES, "training": {"max_epochs": 5}})
    config.write(path)
    whole = path.read_bytes()
    assert RunConfig.read(path) == config
    for length in range(1, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"run\.yaml is cut short: its last line"):
            read_options(path)
    path.write_bytes(whole.rstrip())
    assert RunConfig.read(path) == config


def test_a_file_with_a_changed_character_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    RunConfig.parse(SIZES).write(path)
    whole = path.read_text()
    for i in range(len(whole) - 1):
        path.write_text(whole[:i] + ("0" if whole[i] != "0" else "\n") + whole[i + 1 :])
        with pytest.raises(ConfigError, match=r"run\.yaml is (not as it was written|cut short)"):
            read_options(path)


def test_a_file_edited_on_purpose_is_read_when_its_first_and_last_line_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    RunConfig.parse(SIZES).write(path)
    path.write_text(path.read_text().replace("horizon: 2", "horizon: 3"))
    with pytest.raises(ConfigError, match="edited it on purpose, delete the comments in its first and its last line"):
        read_options(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(ConfigError, match="edited it on purpose, delete the comment in its first line too"):
        read_options(path)
    path.write_text("\n".join(lines[1:-1]))
    assert RunConfig.read(path).horizon == 3


def test_other_line_ends_are_no_change(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    RunConfig.parse(SIZES).write(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert RunConfig.read(path) == RunConfig.parse(SIZES)


def test_an_empty_file_has_no_options(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").touch()
    assert read_options(tmp_path / "run.yaml") == {}


def test_only_options_that_differ_from_the_defaults_are_printed() -> None:
    config = RunConfig(**SIZES, training=TrainingConfig(seed=7))
    assert repr(config) == "RunConfig(horizon=2, lookback=5, training=TrainingConfig(seed=7))"


def test_every_option_is_described() -> None:
    assert [name for name, option in all_options().items() if not option.description] == []


def test_reading_a_config_loads_no_heavy_library() -> None:
    heavy = ("torch", "polars", "numpy", "pytorch_lightning")
    code = f"import sys, fusecast.config; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
