"""Ranks of distributed processes, and gathering what each of them computed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, zip_longest

import numpy as np
import torch
from torch import Tensor, distributed

from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex


def is_first_process() -> bool:
    """Whether this process writes files and talks: the first, or the only one.

    True before a run has other processes too, in the process that will start them.
    """
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


SINGLE_PROCESS = (0, 1)
"""The share of a process that does everything."""


def rank_and_world_size(together: bool) -> tuple[int, int]:
    """Give the number of this process and how many there are: (0, 1) unless they are to work together.

    Joins the processes that ``torchrun`` has started, where they have not been joined yet.
    """
    if not together or not distributed.is_available():
        return SINGLE_PROCESS
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return SINGLE_PROCESS
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


def predict_together(predict: Callable[[WindowIndex], Forecasts], index: WindowIndex) -> Forecasts:
    """Forecast the windows of an index, each process its share of them; all are given all, once and in order.

    Every process must make the same call. A single process forecasts all.

    Parameters
    ----------
    predict
        Forecasts the windows of an index, such as ``lambda part: predictor.predict(panel, part)``.
    index
        The windows. A process takes neighbouring ones of every series, which share most of their steps.
    """
    rank, world = rank_and_world_size(together=True)
    if world == 1:
        return predict(index)
    first, end = index.counts * rank // world, index.counts * (rank + 1) // world
    start = index.first_cutoff
    mine = replace(index, first_cutoff=start + first * index.stride, last_cutoff=start + (end - 1) * index.stride)
    own = predict(mine)
    parts = [own.series, own.cutoff, own.quantiles]
    everyone = gather([torch.from_numpy(np.ascontiguousarray(part)) for part in parts])
    series, cutoff, quantiles = (
        torch.cat([found[number] for found in everyone]).numpy() for number in range(len(parts))
    )
    order = np.lexsort((cutoff, series))
    return Forecasts(series=series[order], cutoff=cutoff[order], quantiles=quantiles[order], levels=own.levels)
