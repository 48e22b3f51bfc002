from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fusecast.classic.config import LightningTrainingConfig

from .victim import NETWORK, table


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks this small only lose by threads, and several test processes lose a lot."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    """Settings of a run of a second; others by name."""

    def make(**options: Any) -> LightningTrainingConfig:
        path = tmp_path / "table.parquet"
        if not path.exists():
            table().write_parquet(path)
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
