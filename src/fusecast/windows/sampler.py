"""SeededSampler: the order of training windows as a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from fusecast.errors import ConfigError, TrainingError
from fusecast.kernels.bindings import Order, call
from fusecast.kernels.library import library

_ROUNDS = 4


class Permutation:
    """A pseudo-random bijection of 0 .. size - 1, determined by its key; any part of it can be asked for.

    A Feistel network over pairs (left, right) of about sqrt(size) values each, in the mixed-radix form of Black and
    Rogaway (2002); places that fall outside are walked on along their cycle until they fall inside. Memory: O(1).
    """

    def __init__(self, size: int, *key: int) -> None:
        self.size = size
        self.left = isqrt(max(size - 1, 0)) + 1
        self.right = -(-size // self.left) if size else 1
        self.keys = np.random.SeedSequence([part & (2**64 - 1) for part in key]).generate_state(2 * _ROUNDS, np.uint64)

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give what stands at these places, int64 [W], each below the size."""
        if library() is None:
            return self.plain(places)
        places, numbers = np.ascontiguousarray(places), np.empty(len(places), dtype=np.int64)
        arguments = Order(len(places), self.size, self.left, self.right, self.keys.ctypes.data, _ROUNDS)
        arguments.places, arguments.numbers = places.ctypes.data, numbers.ctypes.data
        call("windows_order", arguments)
        return numbers

    def plain(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Compute the same with NumPy alone."""
        result = self._once(places.astype(np.uint64))
        outside = np.flatnonzero(result >= self.size)
        while len(outside):
            result[outside] = self._once(result[outside])
            outside = outside[result[outside] >= self.size]
        return result.astype(np.int64)

    def _once(self, places: NDArray[np.uint64]) -> NDArray[np.uint64]:
        m_left, m_right = np.uint64(self.left), np.uint64(self.right)
        left, right = np.divmod(places, m_right)
        for key_left, key_right in self.keys.reshape(_ROUNDS, 2):
            left = (left + _mix(right + key_left) % m_left) % m_left
            right = (right + _mix(left + key_right) % m_right) % m_right
        return left * m_right + right


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble the bits of each number (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_CHUNK = 16_384  # windows whose order is computed at once


class SeededSampler(Sampler[list[int]]):
    """A batch sampler: gives lists of window numbers, in an order that is computed and takes no memory.

    Shuffled, the windows pass by in endless rounds, each a new permutation of all of them, and an epoch is the next
    `windows_per_epoch` of that stream: with fewer than there are, several epochs see every window once before any
    comes again. Not shuffled, an epoch is the first `windows_per_epoch` in order.

    With `world` processes, process `rank` takes every world-th window of an epoch, starting with the rank-th: no
    window twice. Shuffled, all processes take equally many (up to ``world - 1`` windows are left to later rounds);
    otherwise none is left out and they differ by at most one.

    `drop_last` drops an epoch's last, smaller batch, unless it is the only one.

    Iterating starts the epoch over, except right after :meth:`load_state_dict`. The sampler may run ahead of training
    (workers fetch batches early), so whoever trains on the batches counts them in `done`; :class:`WindowLoader` does.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        windows_per_epoch: int | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("world", world), ("windows_per_epoch", windows_per_epoch)):
            if value is not None and value < 1:
                raise ConfigError.not_positive(name, value)
        if not 0 <= rank < world:
            raise ConfigError.out_of_range("rank", rank, f"[0, {world})")
        self.size = size
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.rank = rank
        self.world = world
        per_epoch = size if windows_per_epoch is None else windows_per_epoch
        self.windows_per_epoch = per_epoch if shuffle and size else min(size, per_epoch)
        self.epoch = 0
        self.done = 0  # batches of the epoch that were taken
        self._resuming = False  # the next iteration leaves out those that are done

    @property
    def sampler(self) -> SeededSampler:
        """Itself: Lightning looks here for ``set_epoch``."""
        return self

    @property
    def share(self) -> int:
        """Windows of an epoch that this process takes."""
        if self.shuffle:
            return self.windows_per_epoch // self.world
        return max(0, -(-(self.windows_per_epoch - self.rank) // self.world))

    def __len__(self) -> int:
        whole, rest = divmod(self.share, self.batch_size)
        return whole + (1 if rest and not (self.drop_last and whole) else 0)

    def __iter__(self) -> Iterator[list[int]]:
        for windows in self.chunks():
            for begin in range(0, len(windows), self.batch_size):
                yield windows[begin : begin + self.batch_size].tolist()

    def chunks(self) -> Iterator[NDArray[np.int64]]:
        """Iterate likewise, over the windows [W] of many batches at a time; only the last batch may be smaller."""
        start, self._resuming = self.done if self._resuming else 0, False
        epoch, batches = self.epoch, len(self)
        self.done = start
        together = max(1, _CHUNK // self.batch_size)
        for begin in range(start, batches, together):
            until = min(begin + together, batches)
            places = np.arange(begin * self.batch_size, min(until * self.batch_size, self.share))
            yield self.windows_at(epoch, places * self.world + self.rank)

    def windows_at(self, epoch: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the windows at some places of an epoch, counted over all processes; places in rising order."""
        if not self.shuffle or not len(places):
            return places
        stream = epoch * self.windows_per_epoch + places
        windows = np.empty_like(stream)
        for number in range(int(stream[0]) // self.size, int(stream[-1]) // self.size + 1):
            begin, end = np.searchsorted(stream, (number * self.size, (number + 1) * self.size)).tolist()
            order = Permutation(self.size, self.seed, number)
            windows[begin:end] = order(stream[begin:end] - number * self.size)
        return windows

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; where it is the present one, a position that was loaded is kept."""
        if epoch != self.epoch:
            self.epoch, self.done, self._resuming = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Where the order stands, in plain values.

        Positions count windows, so that the batch size and the number of processes may change in between.
        """
        windows = min(self.done * self.batch_size, self.share) * self.world
        return {"seed": self.seed, "epoch": self.epoch, "windows": windows, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` stood, with its seed.

        Raises
        ------
        TrainingError
            When there are not as many windows as there were.
        """
        if state["size"] != self.size:
            raise TrainingError.other_windows(state["size"], self.size)
        self.seed, self.epoch = state["seed"], state["epoch"]
        self.done, self._resuming = -(-state["windows"] // (self.batch_size * self.world)), True
