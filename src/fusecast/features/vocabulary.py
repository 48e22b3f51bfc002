"""Vocabularies: the categories that occur in the training rows, and their codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fit_vocabulary(codes: NDArray[np.int32], levels: Sequence[str]) -> tuple[str, ...]:
    """Return the categories that occur among the `codes` of training rows (-1 is missing), sorted as text.

    The order does not depend on that of rows or series, so neither do the codes.
    """
    return tuple(sorted(levels[code] for code in np.unique(codes).tolist() if code >= 0))


def encode_categories(codes: NDArray[np.int32], levels: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """Translate codes into `levels` to positions in `vocabulary`, counted from 1; 0 for unknown and missing values."""
    position = {level: i for i, level in enumerate(vocabulary, start=1)}
    lookup = np.zeros(len(levels) + 1, dtype=np.int32)  # the last entry is for -1
    lookup[:-1] = [position.get(level, 0) for level in levels]
    return lookup[codes]
