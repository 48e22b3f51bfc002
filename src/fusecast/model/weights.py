"""Start: the first weights of a network as the paper's code draws them, in place of those of torch's layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fusecast.model.attention import InterpretableMultiHeadAttention
from fusecast.model.embedding import VariableEmbedding
from fusecast.model.gating import GatedLinearUnit, GroupedGatedResidualNetwork, GroupedLinear

NEAR_ZERO = 0.05
"""Bound of the first rows of categories' tables, as Keras has it."""
INTERCEPT = 0.2
"""Bound of the first intercepts of reals, where Keras has 0."""


@torch.no_grad()
def start(network: nn.Module) -> None:
    """Draw first weights as the paper's code does, which is as Keras does.

    Linear maps are those of Glorot and Bengio (2010), each gate, value and head by itself, and without bias at first.
    LSTMs begin with orthogonal recurrent maps and a forget gate that is open (bias 1), categories near zero. Layers of
    torch begin with a third of that variance in maps, biases as large, and categories of variance 1.

    Otherwise than there, a real begins with a small intercept: without one, the layer norm behind it leaves of its
    value the sign alone, and makes much of what float32 rounds away near zero. docs/benchmarks.md has figures.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | GroupedLinear):
            glorot(module.weight)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LSTM):
            start_lstm(module)
        elif isinstance(module, VariableEmbedding):
            glorot(module.real_weight.unsqueeze(-1))
            module.real_bias.uniform_(-INTERCEPT, INTERCEPT)
            module.table.uniform_(-NEAR_ZERO, NEAR_ZERO)
    for module in network.modules():  # maps that lie side by side in one
        if isinstance(module, GatedLinearUnit):
            glorot(module.projection.weight, maps=2)
        elif isinstance(module, GroupedGatedResidualNetwork):
            glorot(module.gate.weight, maps=2)
        elif isinstance(module, InterpretableMultiHeadAttention):
            glorot(module.query.weight, maps=module.num_heads)
            glorot(module.key.weight, maps=module.num_heads)


def glorot(weight: Tensor, *, maps: int = 1) -> None:
    """Fill ``[..., maps * d_out, d_in]``, `maps` maps side by side: uniform, of variance ``2 / (d_in + d_out)``."""
    d_out, d_in = weight.shape[-2] // maps, weight.shape[-1]
    bound = math.sqrt(6 / (d_in + d_out))
    weight.uniform_(-bound, bound)


def start_lstm(lstm: nn.LSTM) -> None:
    """Fill all layers of an LSTM."""
    d = lstm.hidden_size
    for from_input, from_state, input_bias, state_bias in lstm.all_weights:
        glorot(from_input)
        nn.init.orthogonal_(from_state)
        input_bias.zero_()
        state_bias.zero_()
        input_bias[d : 2 * d] = 1.0
