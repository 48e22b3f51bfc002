"""Vocabularies: the levels of a category that training rows showed, and their codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fit_vocabulary(codes: NDArray[np.int32], levels: Sequence[str]) -> tuple[str, ...]:
    """Give the levels that occur among `codes` (those of training rows; -1 is missing), in the order of their text.

    The order does not depend on that of rows or series, so neither do the codes.
    """
    seen = np.unique(codes)
    return tuple(sorted(levels[code] for code in seen.tolist() if code >= 0))


def encode(codes: NDArray[np.int32], levels: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """Translate codes into `levels` to places in `vocabulary`, counted from 1; 0 for unknown and missing ones."""
    place = {level: number for number, level in enumerate(vocabulary, start=1)}
    lookup = np.zeros(len(levels) + 1, dtype=np.int32)  # the last entry answers for -1
    lookup[:-1] = [place.get(level, 0) for level in levels]
    return lookup[codes]
