"""Embeddings of variables: a real is an affine function into d dimensions, a category a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class EmbeddingWeights(NamedTuple):
    """The embeddings of a group of variables.

    A real x is embedded as ``[x, 1] @ lines[v]``, a code c as ``table[offsets[v] + c]``. A linear map of an embedding
    has the same form, with mapped lines and tables: that is how products are folded.
    """

    lines: Tensor  # [Vr, 2, d]: slope and intercept of each real
    table: Tensor  # [R, d]: the rows of all categories, end to end
    offsets: Tensor  # int64 [Vc]: first row of each category
    cardinalities: tuple[int, ...]  # rows of each category

    def embed(self, reals: Tensor, codes: Tensor, present: Tensor | None) -> Tensor:
        """Embed ``reals [B, T, Vr]`` and ``codes [B, T, Vc]``: ``[V, N, d]``, N = B * T; a missing real is all 0."""
        slopes, intercepts = self.lines.unbind(1)  # [Vr, d]
        lines = reals.unsqueeze(-1) * slopes + intercepts
        if present is not None:
            lines = lines.masked_fill(~present[..., : reals.shape[-1], None], 0.0)
        rows = functional.embedding(codes + self.offsets, self.table)
        return torch.cat((lines, rows), dim=2).flatten(0, 1).transpose(0, 1)


class VariableEmbedding(nn.Module):
    """Embeddings of reals (a ``Linear(1, d)`` each) and categories (an ``Embedding(cardinality, d)``), section 4.2.

    ``real_weight[v]`` and ``real_bias[v]`` are those of real v; `table` holds the categories' tables end to end.
    Code 0, unknown, is a row like any other. Codes must lie below their cardinality, which the preprocessor ensures;
    it is not checked here, because reading values of a GPU waits for its queue.
    """

    offsets: Tensor  # int64 [Vc]: first row of each category in `table`

    def __init__(self, num_reals: int, cardinalities: Sequence[int], d_model: int) -> None:
        super().__init__()
        self.cardinalities = tuple(cardinalities)
        self.real_weight = nn.Parameter(torch.empty(num_reals, d_model).uniform_(-1, 1))
        self.real_bias = nn.Parameter(torch.empty(num_reals, d_model).uniform_(-1, 1))
        self.table = nn.Parameter(torch.randn(sum(self.cardinalities), d_model))
        starts = list(accumulate(self.cardinalities, initial=0))[:-1]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64), persistent=False)

    def slice_weights(self, *, first_real: int = 0, first_category: int = 0) -> EmbeddingWeights:
        """Return the embeddings of the reals and categories from `first_real` and `first_category` on."""
        rows_before = sum(self.cardinalities[:first_category])
        lines = torch.stack((self.real_weight, self.real_bias), dim=1)
        return EmbeddingWeights(
            lines=lines[first_real:],
            table=self.table[rows_before:],
            offsets=self.offsets[first_category:] - rows_before,
            cardinalities=self.cardinalities[first_category:],
        )
