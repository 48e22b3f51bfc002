"""What glibc does with freed memory while networks run on CPUs."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_MAX_MMAP_THRESHOLD = 32 * 2**20  # the largest that glibc accepts
_MAX_FREED = 512 * 2**20


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


def available_memory() -> int | None:
    """Return the bytes of memory that programs can still take; None where the system does not report them."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
