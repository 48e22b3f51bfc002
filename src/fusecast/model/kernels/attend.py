"""Interpretable attention, from queries, keys and values on, as one autograd function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.model.kernels.native import Attention, Dropout, call, pointer


def attend(
    query: Tensor, key: Tensor, value: Tensor, past_mask: Tensor | None, *, ahead: int, dropout: float
) -> tuple[Tensor, Tensor]:
    """Mix the values by the mean weights of all heads: ``[B, H, d]``, and the mean weights ``[B, H, T]``.

    Parameters
    ----------
    query, key, value
        ``[B, H, heads, d]``, ``[B, T, heads, d]``, ``[B, T, d]``.
    past_mask
        bool ``[B, T - H]``, False where a step must not be seen; or None.
    ahead
        Step h of the horizon sees the steps before ``T - H + h + ahead``.
    dropout
        Share of weights to drop before the mean over heads; the mean given back is that without dropout.
    """
    mixed, mean = _Attend.apply(query, key, value, past_mask, ahead, dropout)
    return mixed, mean


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, ahead: int, dropout: float
    ) -> tuple[Tensor, Tensor]:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        mask = None if mask is None else mask.contiguous()
        ctx.dropout, ctx.ahead = Dropout.draw(dropout), ahead
        ctx.save_for_backward(query, key, value, mask)
        ctx.set_materialize_grads(False)
        B, H, _, d = query.shape
        mixed, mean = value.new_empty(B, H, d), value.new_empty(B, H, key.shape[1])
        arguments = _arguments(query, key, value, mask, ahead, ctx.dropout)
        arguments.mixed, arguments.mean = pointer(mixed), pointer(mean)
        call("attention_forward", arguments)
        return mixed, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmixed: Tensor | None, dmean: Tensor | None) -> tuple[Any, ...]:
        query, key, value, mask = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in (query, key, value)]
        if dmixed is None:
            dmixed = value.new_zeros(*query.shape[:2], query.shape[-1])
        dmixed, dmean = dmixed.contiguous(), None if dmean is None else dmean.contiguous()
        arguments = _arguments(query, key, value, mask, ctx.ahead, ctx.dropout)
        arguments.dmixed, arguments.dmean = pointer(dmixed), pointer(dmean)
        arguments.dquery, arguments.dkey, arguments.dvalue = map(pointer, gradients)
        call("attention_backward", arguments)
        return *gradients, None, None, None


def _arguments(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, ahead: int, dropout: Dropout
) -> Attention:
    B, H, heads, d = query.shape
    return Attention(
        windows=B,
        heads=heads,
        horizon=H,
        steps=key.shape[1],
        d=d,
        threads=torch.get_num_threads(),
        ahead=ahead,
        scale=1 / math.sqrt(d),
        dropout=dropout,
        mask=pointer(mask),
        query=pointer(query),
        key=pointer(key),
        value=pointer(value),
    )
