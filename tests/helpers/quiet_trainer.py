"""A Trainer of the user's own that prints and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**{"max_epochs": 1, "accelerator": "cpu", "default_root_dir": folder, **quiet, **options})
