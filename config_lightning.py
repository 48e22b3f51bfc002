"""The settings of the training script."""

from fusecast.compat.lightning_scripts.config import LightningTrainingConfig

__all__ = ["LightningTrainingConfig"]
