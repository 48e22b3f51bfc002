"""The layers between variable selection and head, folded and packed for one pass of a kernel (prediction on a CPU)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.kernels.bindings import PackedGate, PackedMap, padded
from fusecast.kernels.decoder import DecoderWeights, WeightPacker, pack, pad_lstm_gates, pad_matrix, pad_rows
from fusecast.model.attention import InterpretableMultiHeadAttention
from fusecast.model.config import ModelConfig
from fusecast.model.gating import GateAddNorm, GatedResidualNetwork, active_dropout
from fusecast.model.lstm import SequenceToSequence


class DecoderLayers(NamedTuple):
    """The layers of a network between variable selection and head."""

    recurrence: SequenceToSequence
    after_recurrence: GateAddNorm
    enrich: GatedResidualNetwork
    attention: InterpretableMultiHeadAttention
    after_attention: GateAddNorm
    position_wise: GatedResidualNetwork
    before_head: GateAddNorm

    def has_dropout(self) -> bool:
        """Return whether a layer drops something now: users may switch single layers to training mode."""
        gates = (self.after_recurrence, self.enrich, self.after_attention, self.position_wise, self.before_head)
        dropouts = (*(layer.gate.dropout for layer in gates), self.attention.dropout)
        lstms = (self.recurrence.encoder, self.recurrence.decoder)
        return any(map(active_dropout, dropouts)) or any(lstm.training and lstm.dropout for lstm in lstms)


class FusedDecoder:
    """Decoder layers with copies of their weights, folded and packed for :func:`fusecast.kernels.decoder.decode`.

    Two consecutive linear maps are multiplied into one, in float64. Widths are padded with zeros to `width`, the next
    multiple of 16.
    """

    def __init__(self, layers: DecoderLayers, config: ModelConfig, horizon: int) -> None:
        d, heads, attention = config.hidden_size, config.num_heads, layers.attention
        self.d, self.width, self.num_layers = d, padded(d), config.num_lstm_layers
        lstms = (layers.recurrence.encoder, layers.recurrence.decoder)
        cells = [weights for lstm in lstms for weights in lstm.all_weights]
        self._first_maps = [pad_lstm_gates(lstm.all_weights[0][0], d) for lstm in lstms]
        self._biases = [pad_lstm_gates((w[2] + w[3]).unsqueeze(1), d)[:, 0].contiguous() for w in cells]

        # A bias of the values must not be folded: where all weights of a row are 0, so is its contribution.
        folded = is_folding_cheaper(horizon, heads, d) and attention.value.bias is None
        scale = 1 / math.sqrt(attention.d_head)
        query_bias = None if attention.query.bias is None else attention.query.bias * scale
        from_attention = attention.output.weight.double()  # [d, d_head]
        if folded:
            from_attention = from_attention @ attention.value.weight.double()  # [d, d]
        packer = WeightPacker(d)
        enrich_input, position_input = layers.enrich.from_input, layers.position_wise.from_input
        arguments: dict[str, PackedGate | PackedMap | float] = {
            "heads": heads,
            "layers": self.num_layers,
            "ahead": attention.steps_ahead(horizon),
            "eps": config.layer_norm_eps,
            "folded": folded,
            "from_input": packer.keep(torch.stack([pack(pad_lstm_gates(w[0], d)) for w in cells])),
            "from_state": packer.keep(torch.stack([pack(pad_lstm_gates(w[1], d)) for w in cells])),
            "bias": packer.keep(torch.stack(self._biases)),
            "after_recurrence": _pack_gate(packer, layers.after_recurrence),
            "enrich": _pack_gate(packer, layers.enrich),
            "after_attention": _pack_gate(packer, layers.after_attention, from_attention),
            "position_wise": _pack_gate(packer, layers.position_wise),
            "before_head": _pack_gate(packer, layers.before_head),
            "enrich_input": packer.pack_map(enrich_input.weight, None),
            "position_input": packer.pack_map(position_input.weight, position_input.bias),
            "query": packer.pack_map(attention.query.weight * scale, query_bias),
        }
        if folded:
            arguments["key"] = packer.keep(pad_matrix(attention.key.weight, d, self.width))
        else:
            key, value = attention.key, attention.value
            keys_and_value = torch.cat((pad_matrix(key.weight, self.width, d), value.weight))
            # The bias of the keys adds the same to all scores of a row, which the softmax ignores.
            biases = None if value.bias is None else torch.cat((value.bias.new_zeros(self.width), value.bias))
            arguments["projection"] = packer.pack_map(keys_and_value, biases)
        self.weights = DecoderWeights(d=d, horizon=horizon, arguments=arguments, tensors=packer.tensors)

    def compute_gate_sums(self, steps: Tensor, *, future: bool) -> Tensor:
        """Compute what steps ``[R, width]`` and biases add to the gates of the first layer: ``[R, 4 width]``."""
        bias = self._biases[self.num_layers if future else 0]
        return functional.linear(steps[:, : self.d], self._first_maps[future], bias)

    def pad(self, rows: Tensor) -> Tensor:
        """Pad rows ``[..., d]`` to ``[..., width]``."""
        return pad_rows(rows, self.width)


class DecoderCache:
    """The fused decoder of a network for its present weights, built again when those have changed.

    Packing costs as much as forecasting a few windows, comparing weights next to nothing. They are compared by value:
    kernels and ``.data`` change them without torch's version counters.
    """

    def __init__(self) -> None:
        # one tuple, so that threads see all of it or nothing
        self._latest: tuple[object, list[Tensor], FusedDecoder] | None = None

    def __reduce__(self) -> tuple[type[DecoderCache], tuple[()]]:
        """Copy and pickle as an empty cache: a decoder holds addresses in memory."""
        return DecoderCache, ()

    def get(self, layers: DecoderLayers, config: ModelConfig, horizon: int) -> FusedDecoder:
        """Return the decoder of these layers for a horizon."""
        weights = [weight for layer in layers for weight in layer.parameters()]
        key = (horizon, config, layers.attention.mask, len(weights))
        latest = self._latest
        if latest is None or latest[0] != key or not all(map(torch.equal, latest[1], weights)):
            latest = (key, [weight.detach().clone() for weight in weights], FusedDecoder(layers, config, horizon))
            self._latest = latest
        return latest[2]


def is_folding_cheaper(horizon: int, heads: int, d: int) -> bool:
    """Whether scores without keys and values, H heads d a step, cost less than with them, d d + H d."""
    return horizon * (heads - 1) <= d


def _pack_gate(
    packer: WeightPacker, layer: GateAddNorm | GatedResidualNetwork, input_map: Tensor | None = None
) -> PackedGate:
    """Pack a gate together with the hidden map of its network, if it has one, and with a map before it."""
    projection = layer.gate.projection
    weight, bias = projection.weight.double(), projection.bias.double()
    if isinstance(layer, GatedResidualNetwork):
        hidden = layer.hidden
        weight, bias = weight @ hidden.weight.double(), bias + weight @ hidden.bias.double()
    if input_map is not None:
        weight = weight @ input_map
    return packer.pack_gate(weight, bias, layer.norm.weight, layer.norm.bias)
