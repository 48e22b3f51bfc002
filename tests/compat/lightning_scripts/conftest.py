from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers.killed_script_training import NETWORK
from tests.helpers.tables import two_waves

from fusecast.compat.lightning_scripts.config import LightningTrainingConfig


@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    """Return a function that makes the config of a run of a second, with changes by name."""

    def make(**options: Any) -> LightningTrainingConfig:
        path = tmp_path / "table.parquet"
        if not path.exists():
            two_waves().write_parquet(path)
        settings = {
            **NETWORK,
            "num_epochs": 2,
            "window_size": 6,
            "batch_size": 16,
            "learning_rate": 0.01,
            "data_path": str(path),
            "checkpoint_dir": str(tmp_path / "checkpoints_lightning"),
            "accelerator": "cpu",
            "logger": "none",
        }
        return LightningTrainingConfig(**{**settings, **options})

    return make
