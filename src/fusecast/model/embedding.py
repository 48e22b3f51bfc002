"""Embeddings of variables: a real is a line in d dimensions, a category a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Codebook(NamedTuple):
    """What the values of a group of variables stand for.

    A real value x stands for ``[x, 1] @ lines[v]``, a code c for ``table[offsets[v] + c]``. Any linear map of an
    embedding is therefore a code book too, of the mapped lines and tables: that is how products are folded.
    """

    lines: Tensor  # [Vr, 2, d]: slope, then intercept, of each real
    table: Tensor  # [R, d]: the rows of all categories, one after another
    offsets: Tensor  # int64 [Vc]: first row of each category
    cardinalities: tuple[int, ...]  # rows of each category


class VariableEmbedding(nn.Module):
    """Embeddings of reals (a ``Linear(1, d)`` each) and categories (an ``Embedding(cardinality, d)`` each).

    ``real_weight[v]`` and ``real_bias[v]`` belong to real v; `table` holds the categories' tables end to end.
    Code 0, unknown, is a row like any other. Codes must lie below their cardinality: the preprocessor sees to it,
    and nothing is checked here, because on a GPU a look at values stops the queue.
    """

    offsets: Tensor

    def __init__(self, num_reals: int, cardinalities: Sequence[int], d_model: int) -> None:
        super().__init__()
        self.cardinalities = tuple(cardinalities)
        self.real_weight = nn.Parameter(torch.empty(num_reals, d_model).uniform_(-1, 1))
        self.real_bias = nn.Parameter(torch.empty(num_reals, d_model).uniform_(-1, 1))
        self.table = nn.Parameter(torch.randn(sum(self.cardinalities), d_model))
        starts = list(accumulate(self.cardinalities, initial=0))[:-1]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64), persistent=False)

    def codebook(self, *, first_real: int = 0, first_category: int = 0) -> Codebook:
        """Give the code book of the reals and the categories from the given ones on."""
        rows_before = sum(self.cardinalities[:first_category])
        lines = torch.stack((self.real_weight, self.real_bias), dim=1)
        return Codebook(
            lines=lines[first_real:],
            table=self.table[rows_before:],
            offsets=self.offsets[first_category:] - rows_before,
            cardinalities=self.cardinalities[first_category:],
        )
