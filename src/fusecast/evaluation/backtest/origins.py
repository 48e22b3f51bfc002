"""Origins: the cutoffs of a backtest, in blocks that share a model and chunks that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from fusecast.data.arrays import IntArray
from fusecast.errors import ConfigError
from fusecast.windows.window_index import WindowIndex


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Windows of a backtest that are forecast together, by the model of their block, and stored in one part file."""

    number: int
    block: int
    index: WindowIndex = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Origins:
    """Rolling origins: every `stride` steps of each series from its first cutoff on.

    The k-th origin of a series is its cutoff ``first_cutoff + k * stride``. Block b holds the origins from
    b * `refit_every` up to the next block's; without `refit_every` there is one block.
    """

    index: WindowIndex = field(repr=False)
    refit_every: int | None = None
    chunk_windows: int = 10_000
    """Windows of a chunk, about."""

    def __post_init__(self) -> None:
        if self.refit_every is not None and self.refit_every < 1:
            raise ConfigError.not_positive("refit_every", self.refit_every)

    @property
    def count(self) -> int:
        """Number of origins of the series that has most of them."""
        return int(self.index.counts.max(initial=0))

    @property
    def num_blocks(self) -> int:
        """Number of blocks, each with a model of its own."""
        return 1 if self.refit_every is None else math.ceil(self.count / self.refit_every)

    def block_index(self, block: int) -> WindowIndex:
        """Return the windows of a block."""
        if self.refit_every is None:
            return self.index
        return _slice_origins(self.index, block * self.refit_every, self.refit_every)

    def known_rows(self, block: int, lengths: IntArray) -> IntArray:
        """Return the rows of each series that are known at the first origin of a block, [S]: its model may use these.

        Where a series has no origin left, all its `lengths` [S] rows may be known; where it never had one, as many as
        its first cutoff, as for the others.
        """
        first = self.index.first_cutoff
        later = first + block * (self.refit_every or 0) * self.index.stride
        return np.clip(np.where(self.index.counts > 0, later, first), 0, lengths)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all windows in order of their origins, in chunks that are the same at every call.

        A chunk holds consecutive origins of all series, as many as make up `chunk_windows`, one at least, of one
        block.
        """
        size = max(1, self.chunk_windows // max(1, int((self.index.counts > 0).sum())))
        number = 0
        for block in range(self.num_blocks):
            index = self.block_index(block)
            for start in range(0, int(index.counts.max(initial=0)), size):
                yield Chunk(number=number, block=block, index=_slice_origins(index, start, size))
                number += 1


def _slice_origins(index: WindowIndex, start: int, count: int) -> WindowIndex:
    """Return the windows of `count` origins of each series, from origin `start` on."""
    first = index.first_cutoff + start * index.stride
    last = np.minimum(index.last_cutoff, first + (count - 1) * index.stride)
    return replace(index, first_cutoff=first, last_cutoff=np.maximum(last, first - 1))
