"""From a table or an array to DataLoaders of (window, next step)."""

from fusecast.classic.loaders import make_dataloaders
from fusecast.classic.windows import StepDataset

__all__ = ["StepDataset", "make_dataloaders"]
