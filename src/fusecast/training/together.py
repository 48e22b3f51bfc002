"""Several processes predict: each its share, and all get everything, once and in order."""

from __future__ import annotations

import os
from itertools import chain, zip_longest

import torch
from torch import Tensor, distributed


def share_of(together: bool) -> tuple[int, int]:
    """Give the number of this process and how many there are: (0, 1) unless they are to work together.

    Joins the processes that ``torchrun`` has started, where they have not been joined yet.
    """
    if not together or not distributed.is_available():
        return 0, 1
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return 0, 1
        distributed.init_process_group("gloo")
    return distributed.get_rank(), distributed.get_world_size()


def gather_batches(own: list[Tensor]) -> list[Tensor]:
    """Put the batches of all processes in their order: process r had batches r, r + world, r + 2 world, ..."""
    everyone = gather(own)
    return [batch for batch in chain.from_iterable(zip_longest(*everyone)) if batch is not None]


def gather(own: list[Tensor]) -> list[list[Tensor]]:
    """Give every process the tensors [n, ...] (on the CPU) of all, a list a process."""
    world = distributed.get_world_size()
    found: list[list[Tensor]] = [[] for _ in range(world)]
    distributed.all_gather_object(found, [tensor.contiguous() for tensor in own])
    return found


def gather_rows(own: Tensor, total: int) -> Tensor:
    """Put rows in their order where process r had rows r, r + world, r + 2 world, ... of `total`."""
    everyone = gather([own])
    result = torch.empty((total, *own.shape[1:]), dtype=own.dtype)
    for rank, (rows,) in enumerate(everyone):
        result[rank :: len(everyone)] = rows
    return result
