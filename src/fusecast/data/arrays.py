"""Types of the arrays that hold a panel's numbers, and arrays that are files mapped into memory.

What is computed from mapped arrays is computed block by block: results of a value a row are mapped files again, which
have no name and vanish with the process, and the pages of a block that has been read or written are returned to the
system. Arrays in memory give the same results, bit for bit.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fusecast.errors.artifact import translate_os_errors

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

BLOCK_ROWS = 2**19
"""Rows of a block at most, where a series has not more by itself."""
WINDOWS_IN_MEMORY = 64
"""Windows of an array in a mapped file after which their rows no longer stay in memory: one may take megabytes, since
the system maps files by pages of up to 2 MiB."""

_ScalarT = TypeVar("_ScalarT", bound=np.generic)


def large_files_folder() -> Path:
    """Return the folder of files that stand for large arrays, which is created where it does not exist.

    It is that of the environment variable FUSECAST_PANELS, or in the user's cache folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fusecast" / "panels"
    folder = Path(os.environ.get("FUSECAST_PANELS") or cache)
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_mapped(array: NDArray[Any]) -> bool:
    """Whether an array is a part of a mapped file."""
    return _find_map(array) is not None


def release(*arrays: NDArray[Any]) -> None:
    """Return the pages of mapped files to the system; their values are read again from there when they are used."""
    for array in arrays:
        mapped = _find_map(array)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def empty(shape: int | tuple[int, ...], dtype: DTypeLike, like: NDArray[Any]) -> NDArray[Any]:
    """Return a new array in memory, or in a mapped file without a name where `like` is mapped."""
    if not is_mapped(like) or not np.prod(shape):
        return np.empty(shape, dtype=dtype)
    folder = large_files_folder()
    with translate_os_errors(f"a file in {folder}"), tempfile.TemporaryFile(dir=folder) as file:
        reserve(file.fileno(), int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.asarray(np.memmap(file, dtype=dtype, mode="r+", shape=shape))


def reserve(handle: int, size: int) -> None:
    """Set the size of a file, with space on the disk where possible; raise an OSError where there is none."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    os.ftruncate(handle, size)


def collect(parts: Iterable[NDArray[Any]], like: NDArray[Any]) -> NDArray[Any]:
    """Return arrays end to end, mapped where `like` is; there is at least one."""
    with Collector(like) as collector:
        for part in parts:
            collector.append(part)
        return collector.collected()


class Collector:
    """Puts arrays end to end, in memory or in a mapped file."""

    def __init__(self, like: NDArray[Any]) -> None:
        self.parts: list[NDArray[Any]] = []
        self.rows = 0
        self._file = (
            tempfile.TemporaryFile(dir=large_files_folder())  # noqa: SIM115  closed at the end of the block
            if is_mapped(like)
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, part: NDArray[Any]) -> None:
        """Add an array, [rows, ...]."""
        self.rows += len(part)
        if self._file is None or not self.parts:
            self.parts.append(part)
        if self._file is not None:
            with translate_os_errors(f"a file in {large_files_folder()}"):
                self._file.write(np.ascontiguousarray(part).data)

    def collected(self) -> NDArray[Any]:
        """Return all of them as one array, which may be written to."""
        if self._file is None or not self.rows:
            return np.concatenate(self.parts)
        self._file.flush()
        first = self.parts[0]
        return np.asarray(np.memmap(self._file, first.dtype, mode="r+", shape=(self.rows, *first.shape[1:])))


def copy(values: NDArray[_ScalarT]) -> NDArray[_ScalarT]:
    """Return a copy, mapped where the values are."""
    return map_values(values, lambda block: block, values.dtype)


def take_windows(values: NDArray[_ScalarT], rows: IntArray) -> NDArray[_ScalarT]:
    """Return the rows [W, ...] of windows of an array; of a mapped one few windows are in memory at once."""
    if not is_mapped(values):
        return values[rows]
    taken = np.empty((*rows.shape, *values.shape[1:]), dtype=values.dtype)
    for begin in range(0, len(rows), WINDOWS_IN_MEMORY):
        taken[begin : begin + WINDOWS_IN_MEMORY] = values[rows[begin : begin + WINDOWS_IN_MEMORY]]
        release(values)
    return taken


def map_values(values: NDArray[Any], function: Callable[[Any], Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return a function of each value, computed block by block, mapped where the values are."""
    result = empty(values.shape, dtype, values)
    for rows in row_blocks(len(values)):
        result[rows] = function(values[rows])
        release(values, result)
    return result


def count_codes(codes: NDArray[np.int32], levels: int) -> IntArray:
    """Return how often each of so many levels occurs; -1 is none."""
    counts = np.zeros(levels, dtype=np.int64)
    for rows in row_blocks(len(codes)):
        counts += np.bincount(codes[rows] + 1, minlength=levels + 1)[1:]
        release(codes)
    return counts


def save(path: Path, values: NDArray[Any]) -> None:
    """Write an array as a ``.npy`` file, block by block."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False, "shape": values.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for rows in row_blocks(len(values)) if values.ndim else ():
            file.write(np.ascontiguousarray(values[rows]).data)
            release(values)


def is_block(rows: int) -> bool:
    """Whether so many rows are a block."""
    return rows <= BLOCK_ROWS


def row_blocks(rows: int) -> Iterator[slice]:
    """Yield ranges of rows, :data:`BLOCK_ROWS` each."""
    for begin in range(0, rows, BLOCK_ROWS):
        yield slice(begin, min(begin + BLOCK_ROWS, rows))


def group_blocks(indptr: ArrayLike) -> Iterator[slice]:
    """Yield ranges of groups with :data:`BLOCK_ROWS` rows or one group each; group g has the rows indptr[g:g + 2]."""
    bounds = np.asarray(indptr)
    begin, groups = 0, len(bounds) - 1
    while begin < groups:
        end = max(int(np.searchsorted(bounds, bounds[begin] + BLOCK_ROWS, side="right")) - 1, begin + 1)
        yield slice(begin, min(end, groups))
        begin = end


def _find_map(array: Any) -> mmap.mmap | None:
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None
