"""Origins: the cutoffs of a backtest, in blocks that share a model and pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusecast.errors import ConfigError
from fusecast.windows.window_index import WindowIndex


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Some windows of a backtest that are forecast together, by the model of their block."""

    number: int
    block: int
    index: WindowIndex


@dataclass(frozen=True, kw_only=True, eq=False)
class Origins:
    """Rolling origins: every `stride` steps of each series from its first cutoff on.

    The k-th origin of a series is its cutoff ``first_cutoff + k * stride``. Block b holds the origins from
    b * `refit_every` up to the next block's; without `refit_every` there is one block.
    """

    index: WindowIndex
    refit_every: int | None = None
    piece_windows: int = 10_000
    """Windows of a piece, about."""

    def __post_init__(self) -> None:
        if self.refit_every is not None and self.refit_every < 1:
            raise ConfigError.not_positive("refit_every", self.refit_every)

    @property
    def count(self) -> int:
        """Origins of the series that has most of them."""
        return int(self.index.counts.max(initial=0))

    @property
    def num_blocks(self) -> int:
        """Blocks, each with a model of its own."""
        return 1 if self.refit_every is None else -(-self.count // self.refit_every)

    def number_of(self, series: NDArray[np.int64], cutoff: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the number of each window's origin, [W]."""
        number: NDArray[np.int64] = (cutoff - self.index.first_cutoff[series]) // self.index.stride
        return number

    def block(self, number: int) -> WindowIndex:
        """Give the windows of a block."""
        if self.refit_every is None:
            return self.index
        index, stride = self.index, self.index.stride
        first = index.first_cutoff + number * self.refit_every * stride
        last = np.minimum(index.last_cutoff, first + (self.refit_every - 1) * stride)
        return replace(index, first_cutoff=first, last_cutoff=np.maximum(last, first - 1))

    def known_rows(self, number: int, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of each series that are known at the first origin of a block, [S]: what its model may learn from.

        Where a series has run out of origins, all its `lengths` [S] rows may be known; where it never had one, its
        first cutoff says how far it is known, as for the others.
        """
        first = self.index.first_cutoff
        later = first + number * (self.refit_every or 0) * self.index.stride
        return np.clip(np.where(self.index.counts > 0, later, first), 0, lengths)

    def pieces(self) -> Iterator[Piece]:
        """Give all windows in order of their origins, in pieces that are the same at every call.

        A piece holds some origins in a row of all series, as many as make up `piece_windows`, one at least, of one
        block.
        """
        size = max(1, self.piece_windows // max(1, int((self.index.counts > 0).sum())))
        number = 0
        for block in range(self.num_blocks):
            index = self.block(block)
            for start in range(0, int(index.counts.max(initial=0)), size):
                first = index.first_cutoff + start * index.stride
                last = np.minimum(index.last_cutoff, first + (size - 1) * index.stride)
                piece = replace(index, first_cutoff=first, last_cutoff=np.maximum(last, first - 1))
                yield Piece(number=number, block=block, index=piece)
                number += 1
