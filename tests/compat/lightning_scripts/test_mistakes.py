"""Mistakes that are easily made with the scripts, each told in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fusecast.compat.lightning_scripts.config import LightningTrainingConfig
from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.table import read_rows
from fusecast.compat.lightning_scripts.train import train_tft_lightning
from fusecast.errors import ConfigError, DataError, TrainingError


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"seq_ix": np.repeat([0, 1], 4), "f": np.arange(8.0), **columns})


@pytest.mark.parametrize("kind", ["text", "object", "number", "nullable"])
def test_yes_and_no_are_read_however_they_are_written(kind: str) -> None:
    flags = [True, False, False, True] * 2
    written: Any = {
        "text": [str(flag) for flag in flags],
        "object": pd.Series(flags, dtype=object),
        "number": [float(flag) for flag in flags],
        "nullable": pd.array(flags, dtype="boolean"),
    }[kind]
    needed = read_rows(frame(need_prediction=written)).needed
    assert needed is not None
    assert needed.tolist() == flags


@pytest.mark.parametrize("odd", ["maybe", np.nan, None])
def test_what_is_neither_yes_nor_no_is_refused(odd: Any) -> None:
    with pytest.raises(DataError, match=r"'need_prediction' holds .* in row 2, which is neither true nor false"):
        read_rows(frame(need_prediction=pd.Series([True, False, odd, *[True] * 5], dtype=object)))


def test_a_row_of_no_sequence_is_no_sequence_of_its_own() -> None:
    for missing in (np.nan, None):
        sequences = pd.Series([0, 0, missing, 0, 1, 1, 1, 1], dtype=object)
        with pytest.raises(DataError, match="'seq_ix' is empty in row 2"):
            read_rows(frame(seq_ix=sequences))
        with pytest.raises(DataError, match="'seq_ix' is empty in row 2"):
            read_rows(frame(seq_ix=sequences.astype(float)))


@pytest.mark.parametrize("size", ["10", 10.5, True])
def test_sizes_are_whole_numbers(size: Any) -> None:
    with pytest.raises(ConfigError, match=r"window_size must lie in 1, 2, \.\.\., not"):
        make_dataloaders(frame(), size, 4)


def test_a_setting_that_does_not_exist_cannot_be_set() -> None:
    config = LightningTrainingConfig()
    with pytest.raises(ConfigError, match="no option 'num_epoch'\nHint: did you mean 'num_epochs'"):
        config.num_epoch = 3  # type: ignore[attr-defined]
    config.num_epochs = 3
    assert config.training().max_epochs == 3


@pytest.mark.parametrize(("name", "value"), [("num_epochs", "2"), ("random_seed", -1), ("gradient_clip_val", 0)])
def test_a_setting_out_of_its_range_is_called_by_the_name_it_has_here(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be a .*, not {value!r}$"):
        LightningTrainingConfig(**{name: value}).training()


def test_a_path_is_as_good_as_its_table(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "table.csv", index=False)
    np.testing.assert_array_equal(read_rows(str(tmp_path / "table.csv")).values, read_rows(frame()).values)


def test_going_on_with_another_network_is_refused_in_words(tiny: Any) -> None:
    config = tiny()
    train_tft_lightning(config)
    config.ckpt_path, config.hidden_size = "last", 2 * config.hidden_size
    with pytest.raises(TrainingError, match=r"cannot be resumed from .*last.ckpt: hidden_size was"):
        train_tft_lightning(config)
