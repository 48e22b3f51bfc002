"""Refuse windows none of whose steps counts: without a value of the targets, or without a sample weight."""

from __future__ import annotations

import numpy as np

from fusecast.errors import DataError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.windows.window_index import WindowIndex


def check_windows_count(encoded: EncodedPanel, index: WindowIndex, split: str, name: str | None) -> None:
    """Raise a DataError where no step that windows forecast has both a target and a weight above 0.

    `split` is the name of the rows of these steps, `name` the column of the weights, None where all rows count alike.
    """
    targets, rows, has_target = len(encoded.inputs.targets), 0, False
    for s in np.flatnonzero(index.counts).tolist():
        begin = int(encoded.indptr[s] + index.first_cutoff[s])
        span = slice(begin, begin + int((index.counts[s] - 1) * index.stride) + index.horizon)
        counts = np.ones(span.stop - begin, dtype=np.bool_)
        if index.stride > index.horizon:  # some rows lie between windows
            counts = np.arange(len(counts)) % index.stride < index.horizon
        rows += int(counts.sum())
        if encoded.reals_present.shape[1]:
            counts &= encoded.reals_present[span, :targets].any(axis=1)
        has_target = has_target or bool(counts.any())
        if encoded.weights.shape[1]:
            counts &= encoded.weights[span, 0] > 0
        if counts.any():
            return
    if rows and not has_target:
        raise DataError.no_target(encoded.inputs.targets, split, rows)
    if rows:
        raise DataError.weights_all_zero(str(name), split, rows)
