"""What makes networks fast on CPUs: one thread for each of several batches, and freed memory that is kept."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch

from fusecast.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_MAX_MMAP_THRESHOLD = 32 * 2**20  # the largest that glibc accepts
_MAX_FREED = 512 * 2**20


def map_in_threads(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> Iterator[Result]:
    """Yield ``work(item)`` of each item, in order, in inference mode; on a CPU, as many at a time as torch has threads.

    Within a batch, threads wait for one another after every operation, some twenty times a batch: dear where other
    programs run on the same processors, and never free. Between batches they need not wait. The result of each item
    does not depend on the number of threads.
    """

    @torch.inference_mode()
    def infer(item: Item) -> Result:
        return work(item)

    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield from map(infer, items)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        remaining = iter(items)
        running = [pool.submit(infer, item) for item in islice(remaining, 2 * threads)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(infer, item) for item in islice(remaining, 1)]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # part of the setting is that of the whole process


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 512 MiB of freed memory for later allocations, once a process.

    By default the tensors of each batch are returned to the system and fetched again, page by page: a sixth of the
    time of a training step. Nothing is done without glibc, nor where the user has set glibc's own variables
    (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``).
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _MAX_MMAP_THRESHOLD)
    libc.mallopt(_TRIM_THRESHOLD, _MAX_FREED)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_memory(what: str, needed: int) -> None:
    """Raise a ConfigError if something needs more bytes than programs can still take, before they are requested."""
    available = available_memory()
    if available is not None and needed > available:
        raise ConfigError.too_little_memory(what, needed, available)


def available_memory() -> int | None:
    """Return the bytes of memory that programs can still take; None where the system does not report them."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
