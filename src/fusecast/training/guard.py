"""A loss that is not a number stops training, and says in which batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from fusecast.errors import TrainingError


class _Seen(NamedTuple):
    step: int
    epoch: int
    loss: Tensor  # float []
    windows: Tensor  # int64 [B]


class LossGuard:
    """Looks at every loss, without making a GPU wait for each.

    On a CPU a loss is looked at as soon as it is there, so that the weights stay clean. On other devices losses are
    kept and looked at together every `interval` steps: the weights are spoiled then, the checkpoints are not.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval
        self._waiting: list[_Seen] = []

    def see(self, loss: Tensor, windows: Tensor, *, step: int, epoch: int) -> None:
        """Note the loss of a step.

        Raises
        ------
        TrainingError
            If this loss, or one seen since the last look, is not finite.
        """
        self._waiting.append(_Seen(step, epoch, loss.detach(), windows))
        if _at_hand(loss) or len(self._waiting) >= self.interval:
            self.look()

    def look(self) -> None:
        """Look at the losses seen since the last look; called at the end of an epoch too."""
        seen, self._waiting = self._waiting, []
        losses = torch.stack([entry.loss for entry in seen]).tolist() if seen else []  # one wait for all of them
        for loss, (step, epoch, _, windows) in zip(losses, seen, strict=True):
            if not math.isfinite(loss):
                raise TrainingError.loss_not_finite(loss, step, epoch, windows.tolist())


def _at_hand(loss: Tensor) -> bool:
    """Whether reading the value makes nothing wait."""
    return loss.device.type == "cpu"
