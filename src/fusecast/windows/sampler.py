"""SeededSampler: the order of training windows as a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from fusecast.data.arrays import IntArray
from fusecast.errors import ConfigError, TrainingError
from fusecast.kernels.bindings import OrderArguments
from fusecast.kernels.library import call, library

FEISTEL_ROUNDS = 4
WINDOWS_PER_CHUNK = 16_384
"""Windows whose order is computed at once."""


@dataclass(eq=False)
class SeededSampler(Sampler[list[int]]):
    """A batch sampler: yields lists of window numbers, in an order that is computed and takes no memory.

    Shuffled, the windows form an endless stream of permutations of all of them, and an epoch is the next
    `windows_per_epoch` of that stream: with fewer than all, several epochs visit every window once before any
    is repeated. Not shuffled, an epoch is the first `windows_per_epoch` in order.

    With `world_size` processes, process `rank` takes every world_size-th window of an epoch, starting with the rank-th:
    no window twice. Shuffled, all processes take equally many (up to ``world_size - 1`` windows are left to later
    permutations); otherwise none is left out and the counts differ by at most one.

    Iterating restarts the epoch, except right after :meth:`load_state_dict`. The sampler may run ahead of training
    (workers fetch batches early), so the loader counts the batches taken in `batches_done`; see :class:`WindowLoader`.

    Raise a ConfigError where a size is below 1, or `rank` is not below `world_size`.
    """

    size: int  # windows that there are
    _: KW_ONLY
    batch_size: int  # windows of a batch
    shuffle: bool = False  # otherwise in order
    seed: int = 0  # of the order, where it is shuffled
    windows_per_epoch: int | None = None  # None: all
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "world_size", "windows_per_epoch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError.not_positive(name, value)
        if not 0 <= self.rank < self.world_size:
            raise ConfigError.out_of_range("rank", self.rank, f"[0, {self.world_size})")
        per_epoch = self.windows_per_epoch or self.size
        self._per_epoch = per_epoch if self.shuffle and self.size else min(self.size, per_epoch)
        self.epoch = 0
        self.batches_done = 0  # of the epoch
        self._resuming = False  # whether the next iteration skips the batches that are done

    @property
    def sampler(self) -> SeededSampler:
        """Itself: Lightning calls ``set_epoch`` on the ``sampler`` of a batch sampler."""
        return self

    @property
    def num_windows(self) -> int:
        """Windows of an epoch that this process takes."""
        if self.shuffle:
            return self._per_epoch // self.world_size
        return max(0, _divide_up(self._per_epoch - self.rank, self.world_size))

    def __len__(self) -> int:
        return _divide_up(self.num_windows, self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for windows in self.chunks():
            for begin in range(0, len(windows), self.batch_size):
                yield windows[begin : begin + self.batch_size].tolist()

    def chunks(self) -> Iterator[IntArray]:
        """Yield the windows [W] of many batches at a time; only the last batch of an epoch may be smaller."""
        start, self._resuming = self.batches_done if self._resuming else 0, False
        epoch, num_batches = self.epoch, len(self)
        self.batches_done = start
        per_chunk = max(1, WINDOWS_PER_CHUNK // self.batch_size)
        for begin in range(start, num_batches, per_chunk):
            end = min(begin + per_chunk, num_batches)
            positions = np.arange(begin * self.batch_size, min(end * self.batch_size, self.num_windows))
            yield self.windows_at(epoch, positions * self.world_size + self.rank)

    def windows_at(self, epoch: int, positions: IntArray) -> IntArray:
        """Return the windows at ascending positions in an epoch, counted over all processes."""
        if not self.shuffle or not len(positions):
            return positions
        stream = epoch * self._per_epoch + positions
        windows = np.empty_like(stream)
        for i in range(int(stream[0]) // self.size, int(stream[-1]) // self.size + 1):
            begin, end = np.searchsorted(stream, (i * self.size, (i + 1) * self.size)).tolist()
            permutation = Permutation(self.size, self.seed, i)
            windows[begin:end] = permutation(stream[begin:end] - i * self.size)
        return windows

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; a loaded position in the same epoch is kept."""
        if epoch != self.epoch:
            self.epoch, self.batches_done, self._resuming = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the order, as plain values.

        It counts windows, so that the batch size and the number of processes may change before it is loaded.
        """
        windows = min(self.batches_done * self.batch_size, self.num_windows) * self.world_size
        return {"seed": self.seed, "epoch": self.epoch, "windows": windows, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position, with its seed; raise a TrainingError when the number of windows has changed."""
        if any(isinstance(value, bool) or not isinstance(value, int) or value < 0 for value in state.values()):
            raise TrainingError.checkpoint_mismatch("its checkpoint", "the position among the windows is no number")
        if state["size"] != self.size:
            raise TrainingError.other_windows(state["size"], self.size)
        self.seed, self.epoch = state["seed"], state["epoch"]
        self.batches_done, self._resuming = _divide_up(state["windows"], self.batch_size * self.world_size), True


class Permutation:
    """A pseudo-random bijection of 0 .. size - 1, determined by its key; any part of it can be computed alone.

    A Feistel network over pairs (left, right) of about sqrt(size) values each, in the mixed-radix form of Black and
    Rogaway (2002); values outside the range are mapped again until they fall inside. Memory: O(1).
    """

    def __init__(self, size: int, *key: int) -> None:
        self.size = size
        self.left = isqrt(max(size - 1, 0)) + 1
        self.right = _divide_up(size, self.left) if size else 1
        entropy = [part & (2**64 - 1) for part in key]
        self.keys = np.random.SeedSequence(entropy).generate_state(2 * FEISTEL_ROUNDS, np.uint64)

    def __call__(self, positions: IntArray) -> IntArray:
        """Return the values at positions, int64 [W], each below the size."""
        if library() is None:
            return self.plain(positions)
        positions, values = np.ascontiguousarray(positions), np.empty(len(positions), dtype=np.int64)
        arguments = OrderArguments(
            count=len(positions), size=self.size, left=self.left, right=self.right, rounds=FEISTEL_ROUNDS,
            keys=self.keys.ctypes.data, places=positions.ctypes.data, numbers=values.ctypes.data,
        )  # fmt: skip
        call("window_order", arguments)
        return values

    def plain(self, positions: IntArray) -> IntArray:
        """Compute the same with NumPy alone."""
        values = self._map(positions.astype(np.uint64))
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = self._map(values[outside])
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)

    def _map(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        m_left, m_right = np.uint64(self.left), np.uint64(self.right)
        left, right = np.divmod(values, m_right)
        for key_left, key_right in self.keys.reshape(FEISTEL_ROUNDS, 2):
            left = (left + _mix(right + key_left) % m_left) % m_left
            right = (right + _mix(left + key_right) % m_right) % m_right
        return left * m_right + right


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble the bits of each number (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _divide_up(a: int, b: int) -> int:
    """Return a / b, rounded up, exactly."""
    return -(-a // b)
