"""From a table or an array to DataLoaders of (window, next step)."""

from fusecast.compat.lightning_scripts.dataloaders import StepDataset, make_dataloaders

__all__ = ["StepDataset", "make_dataloaders"]
