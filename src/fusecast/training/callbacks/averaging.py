"""WeightAverage: an average over the latest steps of training takes the place of the weights of a single step."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

DECAY = 8
"""Degree of the average: it rests on about the last ninth of all steps."""
CURRENT_WEIGHTS = "current_weights"
"""Key in a checkpoint of the weights that training goes on with; ``state_dict`` has the average."""


class WeightAverage(pl.Callback):
    """Validate, and write into checkpoints, an average of the weights; training itself goes on without it.

    After step t the average moves towards the weights by (d + 1) / (t + d) of the distance, with d = :data:`DECAY`:
    the polynomial-decay averaging of Shamir and Zhang (2013, section 4), which forgets the first steps at any length of
    training. A resumed run has the same average, bit for bit on a CPU.
    """

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}  # those of the module
        self._others: list[Tensor] = []  # the average; while it is validated, the weights that training goes on with
        self._is_swapped = False
        self._step = 0
        self._restored: Mapping[str, Tensor] = {}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        """Remember the weights that training goes on with."""
        self._restored = checkpoint.get(CURRENT_WEIGHTS, {})

    @torch.no_grad()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights of the module, which are the average in a resumed run."""
        self._weights = dict(pl_module.named_parameters())
        self._others = [weight.detach().clone() for weight in self._weights.values()]
        self._is_swapped, self._step = False, trainer.global_step
        for name, tensor in self._restored.items():
            self._weights[name].copy_(tensor)
        self._restored = {}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move the average towards the weights after an optimizer step."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            share = (DECAY + 1) / (self._step + DECAY)
            torch._foreach_lerp_(self._others, [*self._weights.values()], share)

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Put the average in the place of the weights."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._swap()

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Put the weights back."""
        if self._is_swapped:
            self._swap()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        """Write the average as the weights of the module, and the weights themselves beside it."""
        if not self._others:
            return
        own, others = ([tensor.detach() for tensor in tensors] for tensors in (self._weights.values(), self._others))
        average, current = (own, others) if self._is_swapped else (others, own)
        checkpoint["state_dict"].update(zip(self._weights, average, strict=True))
        checkpoint[CURRENT_WEIGHTS] = dict(zip(self._weights, current, strict=True))

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, other in zip(self._weights.values(), self._others, strict=True):
            before = weight.clone()
            weight.copy_(other)
            other.copy_(before)
        self._is_swapped = not self._is_swapped
