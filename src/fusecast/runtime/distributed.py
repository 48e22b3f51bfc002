"""Processes that work together: their ranks, what they agree on, and gathering what each of them computed."""

from __future__ import annotations

import os
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from torch import Tensor, distributed

if TYPE_CHECKING:
    import pytorch_lightning as pl

STEPS_BETWEEN_AGREEMENTS = 10


def is_first_process() -> bool:
    """Whether this process writes files and prints: the first, or the only one.

    True before a run has other processes too, in the process that will start them.
    """
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def rank_and_world_size(together: bool) -> tuple[int, int]:
    """Return the rank of this process and how many there are: (0, 1) unless they are to work together.

    Joins the processes that ``torchrun`` has started, where they have not been joined yet.
    """
    if not together or not distributed.is_available():
        return 0, 1
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return 0, 1
        distributed.init_process_group("gloo")
    return distributed.get_rank(), distributed.get_world_size()


def holds_in_any_process(trainer: pl.Trainer, condition: bool) -> bool:
    """Whether a condition holds in any process of a training, the same answer in all of them after the same step.

    Clocks and signals differ between processes, and all must act on them at the same step. To agree, each waits for
    its device, so several processes do it every tenth step only; between them the answer is False.
    """
    if trainer.world_size > 1 and trainer.global_step % STEPS_BETWEEN_AGREEMENTS:
        return False
    return trainer.strategy.reduce_boolean_decision(condition, all=False)


def gather_batches(batches: list[Tensor]) -> list[Tensor]:
    """Return the batches [n, ...] (on the CPU) of all processes in their order, in every process.

    Process r had the batches r, r + world, r + 2 world, ...
    """
    of_all: list[list[Tensor]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(of_all, [batch.contiguous() for batch in batches])
    return [batch for batch in chain.from_iterable(zip_longest(*of_all)) if batch is not None]
