"""Layers for a group of variables at once: one product over stacked weights in place of a loop.

The first dimension is the variable everywhere, ``[V, N, d]``: a batched product reads and writes it without a copy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class GroupedLinear(nn.Module):
    """V linear maps side by side; ``weight[v]`` and ``bias[v]`` are those of a ``nn.Linear``, with the same start.

    Shapes: ``[V, N, d_in] -> [V, N, d_out]``.
    """

    def __init__(self, num_variables: int, d_in: int, d_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(num_variables, d_out, d_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_variables, d_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map each variable by its own weights: ``[V, N, d_in] -> [V, N, d_out]``."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


class GroupedLayerNorm(nn.Module):
    """V layer norms side by side, each with its own gain and shift. Shapes: ``[V, N, d] -> [V, N, d]``."""

    def __init__(self, num_variables: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_variables, d_model))
        self.bias = nn.Parameter(torch.zeros(num_variables, d_model))
        self.eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        normed = functional.layer_norm(x, x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias.unsqueeze(1), normed, self.weight.unsqueeze(1))


class GroupedGatedResidualNetwork(nn.Module):
    """V gated residual networks without context, from d to d, one a variable (equations 2 to 5, and 7 for each v).

    The first linear, `from_input`, is not applied here: its input is an embedding, so its product is folded into the
    embedding by :class:`fusecast.model.selection.VariableSelection`. So is the linear map of the skip, which the paper
    does not have: `skip` says what goes around, as ``ModelConfig.variable_skip``.
    """

    def __init__(
        self, num_variables: int, d_model: int, *, dropout: float, skip: str = "identity", num_reals: int = 0
    ) -> None:
        super().__init__()
        self.num_reals = num_reals
        identities = None if skip == "identity" else torch.eye(d_model).repeat(num_variables, 1, 1)
        self.skip_weight = None if identities is None else nn.Parameter(identities)
        self.skip_norm = GroupedLayerNorm(num_reals, d_model) if skip == "normalised" and num_reals else None
        self.from_input = GroupedLinear(num_variables, d_model, d_model)
        self.hidden = GroupedLinear(num_variables, d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        self.gate = GroupedLinear(num_variables, d_model, 2 * d_model)
        self.norm = GroupedLayerNorm(num_variables, d_model)

    def finish(self, from_input: Tensor, skip: Tensor) -> Tensor:
        """Do all that follows the first linear map: both ``[V, N, d] -> [V, N, d]``."""
        gated = functional.glu(self.gate(self.dropout(self.hidden(functional.elu(from_input)))), dim=-1)
        if self.skip_norm is not None:
            reals, categories = skip[: self.num_reals], skip[self.num_reals :]
            skip = torch.cat((self.skip_norm(reals), categories))
        normed: Tensor = self.norm(skip + gated)
        return normed
