"""Initial weights as the paper's code draws them, in place of those of torch's layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fusecast.model.attention import InterpretableMultiHeadAttention
from fusecast.model.embedding import VariableEmbedding
from fusecast.model.gating import GatedLinearUnit, GroupedGatedResidualNetwork, GroupedLinear

CATEGORY_BOUND = 0.05
"""Bound of the initial rows of categories' tables, as in Keras."""
INTERCEPT_BOUND = 0.2
"""Bound of the initial intercepts of reals, where Keras has 0."""


@torch.no_grad()
def initialize_weights(network: nn.Module) -> None:
    """Draw initial weights as the paper's code does, which uses Keras (``weight_init="paper"``).

    Linear maps are those of Glorot and Bengio (2010), each gate, value and head by itself, with biases of 0. LSTMs have
    orthogonal recurrent maps and open forget gates (bias 1), categories are near zero. Layers of torch begin with a
    third of that variance in maps, biases as large, and categories of variance 1.

    Unlike there, a real has a small intercept: without one, the layer norm that follows leaves only the sign of its
    value, and amplifies what float32 rounds away near zero. Measured in docs/benchmarks.md.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | GroupedLinear):
            fill_glorot(module.weight)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LSTM):
            for from_input, from_state, input_bias, state_bias in module.all_weights:
                fill_glorot(from_input)
                nn.init.orthogonal_(from_state)
                input_bias.zero_()
                state_bias.zero_()
                input_bias[module.hidden_size : 2 * module.hidden_size] = 1.0  # of the forget gate
        elif isinstance(module, VariableEmbedding):
            fill_glorot(module.real_weight.unsqueeze(-1))
            module.real_bias.uniform_(-INTERCEPT_BOUND, INTERCEPT_BOUND)
            module.table.uniform_(-CATEGORY_BOUND, CATEGORY_BOUND)
    for module in network.modules():  # several maps stacked in one
        if isinstance(module, GatedLinearUnit):
            fill_glorot(module.projection.weight, maps=2)
        elif isinstance(module, GroupedGatedResidualNetwork):
            fill_glorot(module.gate.weight, maps=2)
        elif isinstance(module, InterpretableMultiHeadAttention):
            fill_glorot(module.query.weight, maps=module.num_heads)
            fill_glorot(module.key.weight, maps=module.num_heads)


def fill_glorot(weight: Tensor, *, maps: int = 1) -> None:
    """Fill ``[..., maps * d_out, d_in]``, `maps` stacked maps: uniform, of variance ``2 / (d_in + d_out)``."""
    d_out, d_in = weight.shape[-2] // maps, weight.shape[-1]
    bound = math.sqrt(6 / (d_in + d_out))
    weight.uniform_(-bound, bound)
