"""Interpretable attention over queries, keys and values (equations 13 to 16) as one autograd function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import AttentionArguments, Dropout, pointer
from fusecast.kernels.library import call


def attend(
    query: Tensor, keys_and_value: Tensor, past_mask: Tensor | None, *, ahead: int, dropout: float
) -> tuple[Tensor, Tensor]:
    """Return the values averaged by the mean weights of all heads ``[B, H, d]``, and these weights ``[B, H, T]``.

    `query` is ``[B, H, heads, d]``; `keys_and_value` ``[B, T, (heads + 1) * d]``, the keys of all heads and after them
    the value they share; `past_mask` bool ``[B, T - H]``, False where a step is masked, or None. Step h of the horizon
    attends to the steps before ``T - H + h + ahead``. `dropout` is the share of weights to drop before the mean over
    heads; the returned weights are those before.
    """
    mixed, mean = _Attend.apply(query, keys_and_value, past_mask, ahead, dropout)
    return mixed, mean


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys_and_value: Tensor, mask: Tensor | None, ahead: int, dropout: float
    ) -> tuple[Tensor, Tensor]:
        query, keys_and_value = query.contiguous(), keys_and_value.contiguous()
        mask = None if mask is None else mask.contiguous()
        ctx.dropout, ctx.ahead = Dropout.draw(dropout), ahead
        ctx.save_for_backward(query, keys_and_value, mask)
        ctx.set_materialize_grads(False)
        B, H, _, d = query.shape
        mixed = keys_and_value.new_empty(B, H, d)
        mean = keys_and_value.new_empty(B, H, keys_and_value.shape[1])
        arguments = _arguments(query, keys_and_value, mask, ctx)
        arguments.mixed, arguments.mean = pointer(mixed), pointer(mean)
        call("attention_forward", arguments)
        return mixed, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmixed: Tensor | None, dmean: Tensor | None) -> tuple[Any, ...]:
        query, keys_and_value, mask = ctx.saved_tensors
        dquery, dkeys_and_value = torch.empty_like(query), torch.empty_like(keys_and_value)
        if dmixed is None:
            dmixed = keys_and_value.new_zeros(*query.shape[:2], query.shape[-1])
        dmixed, dmean = dmixed.contiguous(), None if dmean is None else dmean.contiguous()
        arguments = _arguments(query, keys_and_value, mask, ctx)
        arguments.dmixed, arguments.dmean = pointer(dmixed), pointer(dmean)
        arguments.dquery, arguments.dkey, arguments.dvalue = dquery.data_ptr(), *_addresses(dkeys_and_value, query)
        call("attention_backward", arguments)
        return dquery, dkeys_and_value, None, None, None


def _addresses(keys_and_value: Tensor, query: Tensor) -> tuple[int, int]:
    """Return the addresses of the first key and the first value."""
    heads, d = query.shape[2:]
    key = keys_and_value.data_ptr()
    return key, key + heads * d * keys_and_value.element_size()


def _arguments(query: Tensor, keys_and_value: Tensor, mask: Tensor | None, ctx: Any) -> AttentionArguments:
    B, H, heads, d = query.shape
    key, value = _addresses(keys_and_value, query)
    return AttentionArguments(
        windows=B, heads=heads, horizon=H, steps=keys_and_value.shape[1], d=d, row_stride=keys_and_value.shape[2],
        threads=torch.get_num_threads(), ahead=ctx.ahead, scale=1 / math.sqrt(d), dropout=ctx.dropout,
        mask=pointer(mask), query=pointer(query), key=key, value=value,
    )  # fmt: skip
