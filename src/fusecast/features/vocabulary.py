"""Vocabularies: the categories of a column in the training rows, and their codes, from 1 on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.data.schema import Role


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


def encode_statics(
    panel: Panel, vocabularies: Mapping[str, tuple[str, ...]], series: IntArray
) -> dict[str, FloatArray]:
    """Return the statics of some series: values, NaN where missing; and codes, 0 for unknown and missing categories."""
    statics: dict[str, FloatArray] = {}
    for name in panel.schema.names(Role.STATIC):
        if name in panel.static_reals:
            statics[name] = panel.static_reals[name][series].astype(np.float64)
        else:
            codes = encode_categories(panel.static_categories[name][series], panel.levels[name], vocabularies[name])
            statics[name] = codes.astype(np.float64)
    return statics
