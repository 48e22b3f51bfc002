"""From a table or an array to DataLoaders of (window, next step)."""

from pathlib import Path

try:
    from fusecast.compat.lightning_scripts.dataloaders import StepDataset, make_dataloaders
except ImportError as error:
    command = f'pip install -e "{Path(__file__).resolve().parent}"'
    raise ImportError(f"{error}\nHint: {command}   installs fusecast and all that it needs") from error

__all__ = ["StepDataset", "make_dataloaders"]
