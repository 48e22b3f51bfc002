"""The command line of ``train_tft_lightning.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fusecast.compat.lightning_scripts.config import LightningTrainingConfig
from fusecast.errors import FusecastError
from fusecast.errors.os_errors import translate_os_errors


def main(arguments: Sequence[str] | None = None) -> None:
    """Train; what a user can mend is said in words and ends with code 2."""
    parser = argparse.ArgumentParser(description="Train a Temporal Fusion Transformer to forecast the next step.")
    parser.add_argument(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="settings of LightningTrainingConfig, such as num_epochs=10 hidden_size=64 data_path=table.csv",
    )
    given = parser.parse_args(arguments)
    try:
        config = LightningTrainingConfig.with_overrides(given.config)
        from fusecast.compat.lightning_scripts.train import train_tft_lightning

        with translate_os_errors():
            train_tft_lightning(config)
    except FusecastError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
