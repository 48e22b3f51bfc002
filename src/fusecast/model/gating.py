"""Gated linear units and gated residual networks (section 4.1, equations 2 to 5), alone and grouped.

A grouped layer computes one product over the stacked weights of all variables of a group. Its first dimension is the
variable, ``[V, N, d]``, so that a batched product reads and writes it without a copy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.kernels.grn import gated_rows
from fusecast.kernels.library import kernels_supported
from fusecast.model.config import ModelConfig


class GatedLinearUnit(nn.Module):
    """Multiply a linear map by a sigmoid of another (equation 5).

        out = sigmoid(W_g x + b_g) * (W_v x + b_v)        g = 4, v = 5 in the paper

    One linear holds both maps: its first ``d_out`` rows are the values, the last ``d_out`` the gates.
    Dropout acts on `x`, before the gate, as in the paper.
    """

    def __init__(self, d_in: int, d_out: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(d_in, 2 * d_out)

    def forward(self, x: Tensor) -> Tensor:
        """Gate `x`: ``[..., d_in] -> [..., d_out]``."""
        return functional.glu(self.projection(self.dropout(x)), dim=-1)


class GateAddNorm(nn.Module):
    """Add a gated input to a residual, and normalise: ``LayerNorm(residual + GLU(dropout(x)))`` (equation 17)."""

    def __init__(self, d_model: int, *, dropout: float) -> None:
        super().__init__()
        self.gate = GatedLinearUnit(d_model, d_model, dropout=dropout)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Gate `x`, and add `residual`: ``[..., d], [..., d] -> [..., d]``."""
        if kernels_supported((self.gate, self.norm), x, residual):
            projection, norm = self.gate.projection, self.norm
            parameters = (None, None, projection.weight, projection.bias, norm.weight, norm.bias)
            return gated_rows(x, residual, None, parameters, active_dropout(self.gate.dropout), norm.eps)
        normed: Tensor = self.norm(residual + self.gate(x))
        return normed


class GatedResidualNetwork(nn.Module):
    """Transform `x`, given an optional context, and gate the result (equations 2 to 4).

        h   = elu(W_x x + b_x + W_c c)                 x = `a`, c = `c`, h = `eta_2` in the paper
        out = LayerNorm(skip(x) + GLU(dropout(W_h h + b_h)))

    The skip is the identity, or a linear map where the widths differ (or with `linear_skip`).
    """

    def __init__(
        self, d_in: int, d: int, d_out: int, *, has_context: bool = False, dropout: float, linear_skip: bool = False
    ) -> None:
        super().__init__()
        self.from_input = nn.Linear(d_in, d)
        self.from_context = nn.Linear(d, d, bias=False) if has_context else None
        self.hidden = nn.Linear(d, d)
        self.gate = GatedLinearUnit(d, d_out, dropout=dropout)
        self.skip = nn.Linear(d_in, d_out) if linear_skip or d_in != d_out else nn.Identity()
        self.norm = nn.LayerNorm(d_out)

    def forward(self, x: Tensor, context: Tensor | None = None, skip_norm: nn.Module | None = None) -> Tensor:
        """Transform `x`: ``[..., d_in] -> [..., d_out]``, with a context ``[..., d]`` (broadcast).

        `skip_norm` normalises what the skip returns.
        """
        skip = self.skip(x)
        return self.finish(self.from_input(x), skip if skip_norm is None else skip_norm(skip), context)

    def finish(self, from_input: Tensor, skip: Tensor, context: Tensor | None) -> Tensor:
        """Compute all that follows the maps `from_input` and `skip` of `x`, for callers that have them."""
        assert (context is None) == (self.from_context is None)
        if self.from_context is not None:
            context = self.from_context(context)
        shape = (from_input.shape[0], 1, from_input.shape[-1])
        one_per_window = context is None or (from_input.ndim == 3 and context.shape == shape)
        if one_per_window and kernels_supported((self.hidden, self.gate, self.norm), from_input, skip, context):
            flat = None if context is None else context.flatten(0, 1)
            parameters = self.parameters_after_first_map()
            return gated_rows(from_input, skip, flat, parameters, active_dropout(self.gate.dropout), self.norm.eps)
        if context is not None:
            from_input = from_input + context
        normed: Tensor = self.norm(skip + self.gate(self.hidden(functional.elu(from_input))))
        return normed

    def parameters_after_first_map(self) -> tuple[Tensor, ...]:
        """Return weight and bias of the hidden map, of the gate and of the norm."""
        hidden, gate, norm = self.hidden, self.gate.projection, self.norm
        return hidden.weight, hidden.bias, gate.weight, gate.bias, norm.weight, norm.bias


class GroupedLinear(nn.Module):
    """V linear maps; ``weight[v]`` and ``bias[v]`` are those of a ``nn.Linear``, and initialised as those."""

    def __init__(self, num_variables: int, d_in: int, d_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(num_variables, d_out, d_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_variables, d_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map each variable by its own weights: ``[V, N, d_in] -> [V, N, d_out]``."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(-2, -1))


class GroupedLayerNorm(nn.Module):
    """V layer norms, each with its own gain and shift."""

    def __init__(self, num_variables: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_variables, d_model))
        self.bias = nn.Parameter(torch.zeros(num_variables, d_model))
        self.eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of ``[V, N, d]``."""
        normed = functional.layer_norm(x, self.weight.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias.unsqueeze(1), normed, self.weight.unsqueeze(1))


class GroupedGatedResidualNetwork(nn.Module):
    """V gated residual networks without context, from d to d, one a variable (equations 2 to 5, and 7 for each v).

    The first linear, `from_input`, has an embedding as its input, so its product is folded into the embedding by
    :class:`fusecast.model.variable_selection.VariableSelection`, which calls :meth:`finish` then. So is the linear map
    of the skip, which the paper does not have (``ModelConfig.variable_skip``).
    """

    def __init__(self, config: ModelConfig, num_reals: int, num_categories: int) -> None:
        super().__init__()
        V, d, skip = num_reals + num_categories, config.hidden_size, config.variable_skip
        self.num_reals = num_reals
        self.skip_weight = None if skip == "identity" else nn.Parameter(torch.eye(d).repeat(V, 1, 1))
        self.skip_norm = GroupedLayerNorm(num_reals, d) if skip == "normalised" and num_reals else None
        self.from_input = GroupedLinear(V, d, d)
        self.hidden = GroupedLinear(V, d, d)
        self.dropout = nn.Dropout(config.dropout)
        self.gate = GroupedLinear(V, d, 2 * d)
        self.norm = GroupedLayerNorm(V, d)

    def parameters_after_first_map(self) -> tuple[Tensor, ...]:
        """Return weight and bias of the hidden maps, of the gates and of the norms."""
        hidden, gate, norm = self.hidden, self.gate, self.norm
        return hidden.weight, hidden.bias, gate.weight, gate.bias, norm.weight, norm.bias

    def forward(self, embedded: Tensor) -> Tensor:
        """Transform the embeddings of all variables: ``[V, N, d] -> [V, N, d]``."""
        skip = embedded if self.skip_weight is None else torch.bmm(embedded, self.skip_weight.transpose(-2, -1))
        return self.finish(self.from_input(embedded), skip)

    def finish(self, from_input: Tensor, skip: Tensor) -> Tensor:
        """Compute all that follows the first linear map: both ``[V, N, d] -> [V, N, d]``."""
        gated = functional.glu(self.gate(self.dropout(self.hidden(functional.elu(from_input)))), dim=-1)
        if self.skip_norm is not None:
            reals, categories = skip[: self.num_reals], skip[self.num_reals :]
            skip = torch.cat((self.skip_norm(reals), categories))
        normed: Tensor = self.norm(skip + gated)
        return normed


def active_dropout(dropout: nn.Module) -> float:
    """Return the share that a layer drops now: 0 outside training, and for ``nn.Identity`` in its place."""
    return dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
