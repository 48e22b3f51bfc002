"""Refuse windows that have no sample weight in any step that they forecast."""

from __future__ import annotations

import numpy as np

from fusecast.errors import DataError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.windows.window_index import WindowIndex


def check_window_weights(encoded: EncodedPanel, index: WindowIndex, split: str, name: str | None) -> None:
    """Raise a DataError where no step that windows forecast has both a target and a weight above 0."""
    if not encoded.weights.shape[1] or not len(index):
        return
    series, cutoff = index.locate(np.arange(len(index)))
    first, H = encoded.indptr[series] + cutoff, index.horizon
    counts = encoded.weights[:, 0] > 0
    if encoded.reals_present.shape[1]:
        counts &= encoded.reals_present[:, : len(encoded.inputs.targets)].any(axis=1)
    before = np.concatenate(([0], np.cumsum(counts)))
    if not (before[first + H] > before[first]).any():
        raise DataError.weights_all_zero(str(name), split, len(np.unique(first[:, None] + np.arange(H))))
