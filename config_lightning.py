"""The settings of the training script."""

from fusecast.classic.config import LightningTrainingConfig

__all__ = ["LightningTrainingConfig"]
