"""Order: a random permutation that is computed, not stored."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fusecast.model.kernels.build import library
from fusecast.model.kernels.native import Order, call

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
