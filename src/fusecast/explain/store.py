"""AttentionStore: the attention of every window, in memory while it is small, else in a scratch file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fusecast.batch import Batch, Output
from fusecast.explain.importance import steps_present, to_numpy

IN_MEMORY = 256_000_000  # bytes
BLOCK = 4_000_000  # values looked at once, 32 MB in float64


class AttentionStore:
    """Attention [W, H, T] of W windows in float32, NaN at masked positions.

    Beyond 256 MB the values lie in a scratch file that vanishes with the store; memory then stays the same however
    many windows there are.
    """

    def __init__(self, windows: int, lookback: int, horizon: int, in_memory: int = IN_MEMORY) -> None:
        self.lookback, self.horizon = lookback, horizon
        shape = (windows, horizon, lookback + horizon)
        self.in_memory = 4 * int(np.prod(shape)) <= in_memory
        self._values: NDArray[np.float32]
        if self.in_memory:
            self._values = np.full(shape, np.nan, dtype=np.float32)
        else:
            with tempfile.TemporaryFile() as file:  # unlinked at once; the mapping keeps it
                self._values = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)

    def __len__(self) -> int:
        return len(self._values)

    def put(self, numbers: NDArray[np.int64], batch: Batch, output: Output) -> None:
        """Keep the windows of a batch under their numbers."""
        self._values[numbers] = attention_of(batch, output, self.lookback)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Give windows `begin` to `end` piece by piece: which they are, and their attention [B, H, T]."""
        end = len(self) if end is None else end
        size = max(1, BLOCK // max(1, int(np.prod(self._values.shape[1:]))))
        for first in range(begin, end, size):
            part = slice(first, min(first + size, end))
            yield part, self._values[part].astype(np.float64)


def attention_of(batch: Batch, output: Output, lookback: int) -> NDArray[np.float64]:
    """Give the attention of a batch, [B, H, T], NaN at masked positions of the past."""
    attention = to_numpy(output.attention).copy()
    past = attention[:, :, :lookback]
    past[~np.broadcast_to(steps_present(batch, past[:, 0])[:, None], past.shape)] = np.nan
    return attention
