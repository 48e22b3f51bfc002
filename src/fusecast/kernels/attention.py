"""Interpretable attention, from queries, keys and values on, as one autograd function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import Attention, Dropout, call, pointer


def attend(
    query: Tensor, keys_and_value: Tensor, past_mask: Tensor | None, *, ahead: int, dropout: float
) -> tuple[Tensor, Tensor]:
    """Mix the values by the mean weights of all heads: ``[B, H, d]``, and the mean weights ``[B, H, T]``.

    Parameters
    ----------
    query
        ``[B, H, heads, d]``.
    keys_and_value
        ``[B, T, (heads + 1) * d]``: the keys of all heads, and after them the value that they share.
    past_mask
        bool ``[B, T - H]``, False where a step must not be seen; or None.
    ahead
        Step h of the horizon sees the steps before ``T - H + h + ahead``.
    dropout
        Share of weights to drop before the mean over heads; the mean given back is that without dropout.
    """
    mixed, mean = _Attend.apply(query, keys_and_value, past_mask, ahead, dropout)
    return mixed, mean


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, seen: Tensor, mask: Tensor | None, ahead: int, dropout: float
    ) -> tuple[Tensor, Tensor]:
        query, seen = query.contiguous(), seen.contiguous()
        mask = None if mask is None else mask.contiguous()
        ctx.dropout, ctx.ahead = Dropout.draw(dropout), ahead
        ctx.save_for_backward(query, seen, mask)
        ctx.set_materialize_grads(False)
        B, H, _, d = query.shape
        mixed, mean = seen.new_empty(B, H, d), seen.new_empty(B, H, seen.shape[1])
        arguments = _arguments(query, seen, mask, ahead, ctx.dropout)
        arguments.mixed, arguments.mean = pointer(mixed), pointer(mean)
        call("attention_forward", arguments)
        return mixed, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmixed: Tensor | None, dmean: Tensor | None) -> tuple[Any, ...]:
        query, seen, mask = ctx.saved_tensors
        dquery, dseen = torch.empty_like(query), torch.empty_like(seen)
        if dmixed is None:
            dmixed = seen.new_zeros(*query.shape[:2], query.shape[-1])
        dmixed, dmean = dmixed.contiguous(), None if dmean is None else dmean.contiguous()
        arguments = _arguments(query, seen, mask, ctx.ahead, ctx.dropout)
        arguments.dmixed, arguments.dmean = pointer(dmixed), pointer(dmean)
        arguments.dquery, arguments.dkey, arguments.dvalue = dquery.data_ptr(), *_parts(dseen, query)
        call("attention_backward", arguments)
        return dquery, dseen, None, None, None


def _parts(seen: Tensor, query: Tensor) -> tuple[int, int]:
    """Addresses of the first key and the first value."""
    heads, d = query.shape[2:]
    return seen.data_ptr(), seen.data_ptr() + heads * d * seen.element_size()


def _arguments(query: Tensor, seen: Tensor, mask: Tensor | None, ahead: int, dropout: Dropout) -> Attention:
    B, H, heads, d = query.shape
    key, value = _parts(seen, query)
    return Attention(
        windows=B,
        heads=heads,
        horizon=H,
        steps=seen.shape[1],
        d=d,
        apart=seen.shape[2],
        threads=torch.get_num_threads(),
        ahead=ahead,
        scale=1 / math.sqrt(d),
        dropout=dropout,
        mask=pointer(mask),
        query=pointer(query),
        key=key,
        value=value,
    )
