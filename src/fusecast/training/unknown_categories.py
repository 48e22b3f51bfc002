"""Embeddings of categories that training never saw: the average of those it did see."""

from __future__ import annotations

import numpy as np
import torch

from fusecast.data.arrays import BoolArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.embedding import VariableEmbedding
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.windows.window_index import WindowIndex


def settle_unknown_categories(network: TemporalFusionTransformer, encoded: EncodedPanel, train: WindowIndex) -> None:
    """Set the embedding of code 0 of each category to the mean of the others, where no training window held it.

    Without this, a new series or level would be represented by the random numbers that its row started from. Where
    values were missing in training, code 0 has been learned and stays.
    """
    trained = train.counts > 0  # [S]
    end = np.where(trained, train.last_cutoff + train.horizon, 0)  # rows of each series that windows of training hold
    series = np.repeat(np.arange(len(end)), np.diff(encoded.indptr))
    row_in_series = np.arange(len(series)) - encoded.indptr[series]
    seen = row_in_series < end[series]
    _settle(network.embedding, (encoded.categories[seen] == 0).any(axis=0))
    if network.static is not None:
        _settle(network.static.embedding, (encoded.static_categories[trained] == 0).any(axis=0))


@torch.no_grad()
def _settle(embedding: VariableEmbedding, is_learned: BoolArray) -> None:
    for table, learned in zip(embedding.table.split(embedding.cardinalities), is_learned, strict=True):
        if not learned and len(table) > 1:
            table[0] = table[1:].mean(dim=0)
