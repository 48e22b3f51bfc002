"""What a category that training never saw stands for: the average of those it did see."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.embedding import VariableEmbedding
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.windows.window_index import WindowIndex


def settle_unknown_categories(network: TemporalFusionTransformer, encoded: EncodedPanel, train: WindowIndex) -> None:
    """Give code 0 of each category the mean embedding of the others, where no training window ever held it.

    Without this, a new series or level would speak with the random numbers that its row started from. Where values
    were missing in training, code 0 has been learned and stays.
    """
    busy = train.counts > 0
    reach = np.where(busy, train.last_cutoff + train.horizon, 0)  # rows of each series that training looked at
    series = np.repeat(np.arange(len(reach)), np.diff(encoded.indptr))
    seen = np.arange(len(series)) - encoded.indptr[series] < reach[series]
    _settle(network.embedding, (encoded.categories[seen] == 0).any(axis=0))
    if network.static is not None:
        _settle(network.static.embedding, (encoded.static_categories[busy] == 0).any(axis=0))


@torch.no_grad()
def _settle(embedding: VariableEmbedding, learned: NDArray[np.bool_]) -> None:
    for table, known in zip(embedding.table.split(embedding.cardinalities), learned, strict=True):
        if not known and len(table) > 1:
            table[0] = table[1:].mean(dim=0)
