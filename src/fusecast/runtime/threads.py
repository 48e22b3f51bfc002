"""Parallel work on batches: one thread for each of several batches, rather than all threads on one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> Iterator[Result]:
    """Yield ``work(item)`` of each item, in order, in inference mode; on a CPU, as many at a time as torch has threads.

    Within a batch, threads wait for one another after every operation, some twenty times a batch: dear where other
    programs run on the same processors, and never free. Between batches they need not wait. The result of each item
    does not depend on the number of threads.
    """

    def infer(item: Item) -> Result:
        with torch.inference_mode():
            return work(item)

    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield from map(infer, items)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        remaining = iter(items)
        running: list[Future[Result]] = [pool.submit(infer, item) for item in islice(remaining, 2 * threads)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(infer, item) for item in islice(remaining, 1)]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # part of the setting is that of the whole process
