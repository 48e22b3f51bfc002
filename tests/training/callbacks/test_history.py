from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.helpers.training_fixtures import Train

from fusecast.training.callbacks.history import COLUMNS


def test_the_history_has_a_row_an_epoch_and_the_file_has_the_same(train: Train, tmp_path: Path) -> None:
    result = train(max_epochs=3)
    with (tmp_path / "run" / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert rows == [pytest.approx(row) for row in result.history]
    assert all(row["windows_per_second"] > 0 and row["lr"] == 1e-3 for row in rows)


def test_a_value_that_does_not_exist_is_an_empty_field(train: Train, tmp_path: Path) -> None:
    train(max_epochs=1, valid=None)
    with (tmp_path / "run" / "history.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["val_loss"] == row["val_mae"] == ""
    assert float(row["train_loss"]) > 0
