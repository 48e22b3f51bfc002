"""Prediction from the selected vectors to the input of the head in one pass over a few windows at a time.

What is decoded by which weights is :mod:`fusecast.model.decoder`'s; here weights are packed, and the kernel is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.kernels.bindings import DecoderArguments, PackedGate, PackedMap, padded, pointer
from fusecast.kernels.library import call

GROUP_SIZE = 24
"""Windows that pass through the LSTM side by side: fewer load its weights more often, more need more cache."""


class GateSums(NamedTuple):
    """What selected vectors and biases add to the gates of the LSTM's first layer; width as :func:`padded`."""

    past: Tensor  # [B, L, 4 width]
    future: Tensor  # [B, H, 4 width]


@dataclass(frozen=True, kw_only=True, repr=False)
class DecoderWeights:
    """Packed weights and sizes: the arguments of ``decoder.c`` that are the same for all batches."""

    d: int
    horizon: int
    arguments: dict[str, PackedGate | PackedMap | float]
    tensors: list[Tensor]  # the memory that `arguments` points to


class WeightPacker:
    """Pads and packs maps from and to d features, and keeps the memory that they point to."""

    def __init__(self, d: int) -> None:
        self.d, self.width = d, padded(d)
        self.tensors: list[Tensor] = []

    def keep(self, tensor: Tensor) -> int:
        """Keep a tensor, or a contiguous copy of it, and return the address of its numbers."""
        self.tensors.append(tensor.contiguous())
        return self.tensors[-1].data_ptr()

    def pack_map(self, weight: Tensor, bias: Tensor | None) -> PackedMap:
        """Pack ``[out, in]``, both padded to multiples of 16, and a bias, 0 for None."""
        packed = pack(pad_matrix(weight, padded(weight.shape[0]), padded(weight.shape[1])))
        bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
        return PackedMap(weight=self.keep(packed), bias=self.keep(functional.pad(bias, (0, -len(bias) % 16))))

    def pack_gate(self, weight: Tensor, bias: Tensor, gain: Tensor, shift: Tensor) -> PackedGate:
        """Pack the map of a gated linear unit, ``[2 d, in]`` in float64 with values before gates, and a layer norm."""
        d, width = self.d, self.width
        weights = torch.cat([pad_matrix(part, width, part.shape[1]) for part in weight.float().split(d)])
        biases = torch.cat([functional.pad(part, (0, width - d)) for part in bias.float().split(d)])
        gain_address, shift_address = (self.keep(pad_rows(x, width).clone()) for x in (gain, shift))
        return PackedGate(map=self.pack_map(weights, biases), gain=gain_address, shift=shift_address)


def decode(
    weights: DecoderWeights,
    past: Tensor,
    future: Tensor,
    *,
    hidden: Tensor | None,
    cell: Tensor | None,
    context: Tensor,
    past_mask: Tensor | None,
    sums: GateSums | None = None,
    with_attention: bool = True,
) -> tuple[Tensor, Tensor]:
    """Decode ``past [B, L, width]`` and ``future [B, H, width]`` to the input of the head.

    Windows may overlap in memory; within one, steps are contiguous. `hidden` and `cell` are the initial states of the
    LSTM, ``[B, d]``; `context` ``[B, d]`` is what the static enrichment adds to its first map, bias included;
    `past_mask` is bool ``[B, L]``, False where a step is masked; `sums` saves computing those of the first LSTM layer.
    Return ``[B, H, d]``, and the attention ``[B, H, T]``, or ``[B, H, 0]`` without `with_attention`.
    """
    B, L, width = past.shape
    H, T = weights.horizon, L + weights.horizon
    assert future.shape == (B, H, width)
    states = [None if x is None else pad_rows(x, width).contiguous() for x in (hidden, cell, context)]
    addresses = dict(zip(("hidden", "cell", "context"), map(pointer, states), strict=True))
    past_mask = None if past_mask is None else past_mask.contiguous()
    decoded = past.new_empty(B, H, width)
    attention = past.new_empty(B, H, T if with_attention else 0)
    arguments = DecoderArguments(
        windows=B, lookback=L, horizon=H, d=weights.d, dp=width, group_size=GROUP_SIZE, threads=torch.get_num_threads(),
        past_stride=past.stride(0), future_stride=future.stride(0), past=_address(past), future=_address(future),
        mask=pointer(past_mask), decoded=pointer(decoded), attention=pointer(attention) if with_attention else None,
        **addresses, **weights.arguments,
    )  # fmt: skip
    if sums is not None:
        arguments.past_sums, arguments.future_sums = _address(sums.past), _address(sums.future)
        arguments.past_sums_stride, arguments.future_sums_stride = sums.past.stride(0), sums.future.stride(0)
    call("decode", arguments)
    return decoded[..., : weights.d], attention


def pad_rows(rows: Tensor, width: int) -> Tensor:
    """Pad rows ``[..., d]`` to ``[..., width]``."""
    return rows if rows.shape[-1] == width else functional.pad(rows, (0, width - rows.shape[-1]))


def pad_matrix(weight: Tensor, outputs: int, inputs: int) -> Tensor:
    """Pad ``[out, in]`` to ``[outputs, inputs]``."""
    return functional.pad(weight, (0, inputs - weight.shape[1], 0, outputs - weight.shape[0]))


def pad_lstm_gates(weight: Tensor, d: int) -> Tensor:
    """Pad each of the four gates of ``[4 d, in]`` to ``[4 width, in]``."""
    return torch.cat([pad_matrix(part, padded(d), weight.shape[1]) for part in weight.split(d)])


def pack(weight: Tensor) -> Tensor:
    """Pack ``[out, in]`` as ``[out / 16, in padded, 16]``."""
    weight = pad_matrix(weight, weight.shape[0], padded(weight.shape[1]))
    return weight.view(-1, 16, weight.shape[1]).transpose(1, 2).contiguous()


def _address(tensor: Tensor) -> int:
    """Return the address of windows ``[B, T, w]`` whose rows are contiguous."""
    assert tensor.stride()[1:] == (tensor.shape[2], 1)
    return tensor.data_ptr()
