"""What a network does behind its variable selection, for prediction: one pass over a few windows at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.kernels.bindings import Decode, DecodeGate, DecodeMap, call, padded, pointer

if TYPE_CHECKING:
    from fusecast.model.gating import GateAddNorm, GatedResidualNetwork
    from fusecast.model.tft import TemporalFusionTransformer

TOGETHER = 24
"""Windows that go through the LSTM side by side: fewer fetch its weights more often, more need more cache."""


class Sums(NamedTuple):
    """What selected vectors and biases add to the gates of the LSTM's first layer."""

    past: Tensor  # [B, L, 4 width]
    future: Tensor  # [B, H, 4 width]


def fold_pays(horizon: int, heads: int, d: int) -> bool:
    """Whether to do without keys and values: scores then cost H heads d a step, and not d d + H d; mixing is alike."""
    return horizon * (heads - 1) <= d


class Decoder:
    """A network's weights behind the selection, folded and packed for ``decode.c``; they are copies.

    Two linear maps in a row are multiplied into one, in float64. Widths are padded with zeros to `width` numbers, the
    next multiple of 16.
    """

    def __init__(self, network: TemporalFusionTransformer, horizon: int) -> None:
        config, attention, recurrence = network.config, network.attention, network.recurrence
        d, heads = config.hidden_size, config.num_heads
        self.d, self.heads, self.layers, self.width = d, heads, config.num_lstm_layers, padded(d)
        self.horizon, self.eps = horizon, config.layer_norm_eps
        self.ahead = {"inclusive": 1, "strict": 0, "none": horizon}[attention.mask]
        # Where a row of weights is all 0, so is its part of a bias of the values; folded, the bias would stay whole.
        self.folded = fold_pays(horizon, heads, d) and attention.value.bias is None
        self.kept: list[Tensor] = []

        cells = [w for lstm in (recurrence.encoder, recurrence.decoder) for w in lstm.all_weights]
        self.first_maps = [_gates(lstm.all_weights[0][0], d) for lstm in (recurrence.encoder, recurrence.decoder)]
        self.first_biases = [_gates((w[2] + w[3]).unsqueeze(1), d)[:, 0].contiguous() for w in cells]
        self.from_input = torch.stack([_pack(_gates(w[0], d)) for w in cells])
        self.from_state = torch.stack([_pack(_gates(w[1], d)) for w in cells])
        self.bias = torch.stack(self.first_biases)

        scale = 1 / math.sqrt(attention.d_head)
        behind = attention.output.weight.double()  # [d, head]
        if self.folded:
            behind = behind @ attention.value.weight.double()  # [d, d]
        self.weights: dict[str, DecodeGate | DecodeMap | int] = {
            "after_recurrence": self._gate(network.after_recurrence),
            "enrich": self._gate(network.enrich),
            "after_attention": self._gate(network.after_attention, behind),
            "position_wise": self._gate(network.position_wise),
            "before_head": self._gate(network.before_head),
            "enrich_input": self._map(network.enrich.from_input.weight, None),
            "position_input": self._map(network.position_wise.from_input.weight, network.position_wise.from_input.bias),
            "query": self._map(attention.query.weight * scale, _times(attention.query.bias, scale)),
        }
        if self.folded:
            self.weights["key"] = self._keep(_pad(attention.key.weight, d, self.width))
        else:
            key, value = attention.key, attention.value
            both = torch.cat((_pad(key.weight, self.width, d), value.weight))
            biases = None if value.bias is None else torch.cat((value.bias.new_zeros(self.width), value.bias))
            self.weights["projection"] = self._map(both, biases)  # the keys' bias adds the same to all scores of a row

    def first_sums(self, steps: Tensor, *, future: bool) -> Tensor:
        """Give what steps ``[R, width]`` and biases add to the gates of the first layer: ``[R, 4 width]``."""
        of_decoder = self.layers if future else 0
        return functional.linear(steps[:, : self.d], self.first_maps[future], self.first_biases[of_decoder])

    def padded(self, rows: Tensor) -> Tensor:
        """Pad rows ``[..., d]`` to ``[..., width]``."""
        return rows if self.d == self.width else functional.pad(rows, (0, self.width - self.d))

    def __call__(
        self,
        past: Tensor,
        future: Tensor,
        *,
        hidden: Tensor | None,
        cell: Tensor | None,
        context: Tensor,
        past_mask: Tensor | None,
        sums: Sums | None = None,
        with_attention: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Decode ``past [B, L, width]`` and ``future [B, H, width]`` to what the head is given.

        Windows may overlap in memory; within one, the steps lie side by side. States are those of
        :class:`StaticContexts`, ``[B, d]``; `context` is what the enrichment adds to its first map, bias and all.

        Returns
        -------
        ``[B, H, d]``, and the attention ``[B, H, T]``, or ``[B, H, 0]`` where it is not asked for.
        """
        B, L, width = past.shape
        H, T = self.horizon, L + self.horizon
        assert future.shape == (B, H, width)
        states = [None if x is None else self.padded(x).contiguous() for x in (hidden, cell, context)]
        pointers = dict(zip(("hidden", "cell", "context"), map(pointer, states), strict=True))
        past_mask = None if past_mask is None else past_mask.contiguous()
        decoded = past.new_empty(B, H, width)
        attention = past.new_empty(B, H, T if with_attention else 0)
        arguments = Decode(
            windows=B, lookback=L, horizon=H, d=self.d, dp=width, heads=self.heads, layers=self.layers,
            together=TOGETHER, threads=torch.get_num_threads(), folded=self.folded, ahead=self.ahead, eps=self.eps,
            past_apart=past.stride(0), future_apart=future.stride(0),
            past=_address(past), future=_address(future),
            mask=pointer(past_mask),
            from_input=pointer(self.from_input), from_state=pointer(self.from_state), bias=pointer(self.bias),
            decoded=pointer(decoded), attention=pointer(attention) if with_attention else None,
            **pointers, **self.weights,
        )  # fmt: skip
        if sums is not None:
            arguments.past_sums, arguments.future_sums = _address(sums.past), _address(sums.future)
            arguments.past_sums_apart, arguments.future_sums_apart = sums.past.stride(0), sums.future.stride(0)
        call("decode", arguments)
        return decoded[..., : self.d], attention

    def _keep(self, tensor: Tensor) -> int:
        self.kept.append(tensor.contiguous())
        return self.kept[-1].data_ptr()

    def _map(self, weight: Tensor, bias: Tensor | None) -> DecodeMap:
        """Pack ``[out, in]``, both padded to multiples of 16."""
        packed = _pack(_pad(weight, padded(weight.shape[0]), padded(weight.shape[1])))
        bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
        return DecodeMap(self._keep(packed), self._keep(functional.pad(bias, (0, -len(bias) % 16))))

    def _gate(self, module: GateAddNorm | GatedResidualNetwork, behind: Tensor | None = None) -> DecodeGate:
        """Take a gate with the map behind it, its hidden map if it has one."""
        weight, bias = module.gate.projection.weight.double(), module.gate.projection.bias.double()
        hidden: nn.Linear | None = getattr(module, "hidden", None)
        if hidden is not None:
            weight, bias = weight @ hidden.weight.double(), bias + weight @ hidden.bias.double()
        if behind is not None:
            weight = weight @ behind
        d, width = self.d, self.width
        both = torch.cat([_pad(part, width, part.shape[1]) for part in weight.float().split(d)])
        biases = torch.cat([functional.pad(part, (0, width - d)) for part in bias.float().split(d)])
        gain, shift = (self._keep(self.padded(x).clone()) for x in (module.norm.weight, module.norm.bias))
        return DecodeGate(self._map(both, biases), gain, shift)


class LatestDecoder:
    """A network's decoder for its weights as they are, made anew where they are not what they were.

    Packing them costs as much as forecasting a few windows, comparing them next to nothing. They are compared by their
    numbers: kernels and ``.data`` change weights without torch's counters of versions.
    """

    def __init__(self) -> None:
        self._latest: tuple[object, list[Tensor], Decoder] | None = None  # one tuple, so that threads see all of it

    def __reduce__(self) -> tuple[type[LatestDecoder], tuple[()]]:
        """Copies, and what comes back from a file, start with none: a decoder is addresses in memory."""
        return LatestDecoder, ()

    def of(self, network: TemporalFusionTransformer, horizon: int) -> Decoder:
        """Give the decoder of the network."""
        weights = [weight for part in _behind_selection(network) for weight in part.parameters()]
        shape = (horizon, network.config, network.attention.mask, len(weights))
        latest = self._latest
        if latest is None or latest[0] != shape or not all(map(torch.equal, latest[1], weights)):
            latest = (shape, [weight.detach().clone() for weight in weights], Decoder(network, horizon))
            self._latest = latest
        return latest[2]


def _behind_selection(network: TemporalFusionTransformer) -> tuple[nn.Module, ...]:
    """Give the modules whose weights a decoder is made of."""
    return (
        network.recurrence,
        network.after_recurrence,
        network.enrich,
        network.attention,
        network.after_attention,
        network.position_wise,
        network.before_head,
    )


def _address(tensor: Tensor) -> int:
    """Address of windows ``[B, T, w]`` whose rows lie side by side."""
    assert tensor.stride()[1:] == (tensor.shape[2], 1)
    return tensor.data_ptr()


def _times(bias: Tensor | None, scale: float) -> Tensor | None:
    return None if bias is None else bias * scale


def _pad(weight: Tensor, out: int, inputs: int) -> Tensor:
    return functional.pad(weight, (0, inputs - weight.shape[1], 0, out - weight.shape[0]))


def _gates(weight: Tensor, d: int) -> Tensor:
    """Pad each of the four gates of ``[4 d, in]`` to ``[4 width, in]``."""
    return torch.cat([_pad(part, padded(d), weight.shape[1]) for part in weight.split(d)])


def _pack(weight: Tensor) -> Tensor:
    """Pack ``[out, in]`` as ``[out / 16, in padded, 16]``."""
    weight = _pad(weight, weight.shape[0], padded(weight.shape[1]))
    return weight.view(-1, 16, weight.shape[1]).transpose(1, 2).contiguous()
