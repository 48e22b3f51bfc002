"""The example that tunes a network: a trial trains, and processes share trials by a storage URL."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from examples import tune
from tests.helpers.tables import LOOKBACK, shop_table


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    shop_table(series=2, steps=60).select("unique_id", "ds", "y").write_parquet(tmp_path / "sales.parquet")
    return tmp_path / "sales.parquet"


def test_a_trial_trains_with_its_options_and_returns_the_validation_loss(sales: Path) -> None:
    asked: dict[str, Any] = {}

    def suggest(name: str, *values: Any, log: bool = False) -> Any:
        asked[name] = values
        return values[0][0] if isinstance(values[0], list) else values[0]

    trial = SimpleNamespace(suggest_categorical=suggest, suggest_float=suggest)
    loss = tune.make_objective(sales, 4, 2, lookback=LOOKBACK)(trial)
    assert set(asked) == {"hidden_size", "dropout", "learning_rate"}
    assert math.isfinite(loss)


def test_two_calls_share_the_trials_of_a_storage(
    sales: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    words = [str(sales), "--horizon", "4", "--storage", storage, "--trials", "1", "--max-steps", "2"]
    tune.main(words)
    tune.main(words)
    assert len(optuna.load_study(study_name="sales", storage=storage).trials) == 2
    assert "hidden_size" in capsys.readouterr().out
