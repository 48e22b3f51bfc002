"""Gated residual networks and gates over rows, after their first linear map, as one autograd function."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import Dropout, Parameters, Rows, call, padded, pointer

KEEP_UP_TO = 2**27
"""Bytes that one call may keep. Computing anew costs a quarter more products; memory grows with rows and variables."""


class Kept(NamedTuple):
    """Per row: the hidden map after dropout ``[rows, dp]``; values and open gates ``[rows, 2 op]``; widths padded."""

    z: Tensor
    gates: Tensor


def room_to_keep(like: Tensor, networks: int, rows: int, d: int, out: int) -> list[Kept] | None:
    """Give the room for `rows` rows of each network, or None where they are too many.

    Each network has tensors of its own: glibc keeps the memory of freed ones only up to a size.
    """
    width, gates = padded(d), 2 * padded(out)
    if networks * rows * (width + gates) * like.element_size() > KEEP_UP_TO:
        return None
    return [Kept(like.new_empty(rows, width), like.new_empty(rows, gates)) for _ in range(networks)]


def hand_over(kept: list[Kept] | None, arguments: Any) -> None:
    """Point the arguments of a kernel to what is kept; they hold the addresses as long as they live."""
    if kept is None:
        return
    array: Any = ctypes.c_void_p * len(kept)
    arguments.addresses = array(*(one.z.data_ptr() for one in kept)), array(*(one.gates.data_ptr() for one in kept))
    arguments.kept_z, arguments.kept_gates = map(ctypes.addressof, arguments.addresses)


def gated_rows(
    x: Tensor, skip: Tensor, context: Tensor | None, parameters: Sequence[Tensor | None], dropout: float, eps: float
) -> Tensor:
    """Give ``LayerNorm(skip + GLU(dropout(W_h elu(x + context) + b_h)))``, or without W_h and the ELU.

    Parameters
    ----------
    x, skip
        ``[..., d]`` and ``[..., out]``.
    context
        ``[B, d]``, or None: added to the rows of x, of which B divides the number; equally many to each, in order.
    parameters
        Weight and bias of the hidden map (None and None without it), of the gate, and of the norm.
    dropout
        Share to drop; 0 outside training.
    eps
        Added to the variance in the norm.
    """
    y: Tensor = _GatedRows.apply(x, skip, context, dropout, eps, not torch.is_grad_enabled(), *parameters)
    return y


class _GatedRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        skip: Tensor,
        context: Tensor | None,
        dropout: float,
        eps: float,
        may_fold: bool,
        *parameters: Tensor | None,
    ) -> Tensor:
        x, skip = x.contiguous(), skip.contiguous()
        context = None if context is None else context.contiguous()
        parameters = tuple(None if p is None else p.contiguous() for p in parameters)
        ctx.dropout, ctx.eps = Dropout.draw(dropout), eps
        ctx.save_for_backward(x, skip, context, *parameters)
        y = torch.empty_like(skip)
        rows = skip.numel() // skip.shape[-1]
        ctx.kept = None if may_fold else room_to_keep(x, 1, rows, x.shape[-1], skip.shape[-1])
        arguments = _arguments(x, skip, context, parameters, ctx.dropout, eps, may_fold)
        arguments.y = pointer(y)
        hand_over(ctx.kept, arguments)
        call("rows_forward", arguments)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        x, skip, context, *parameters = ctx.saved_tensors
        gradients = [None if p is None else torch.zeros_like(p) for p in parameters]
        dx, dskip, dy = torch.empty_like(x), torch.empty_like(skip), dy.contiguous()
        arguments = _arguments(x, skip, context, parameters, ctx.dropout, ctx.eps)
        kept, ctx.kept = ctx.kept, None  # used once: another backward pass computes it anew
        hand_over(kept, arguments)
        arguments.gradients = Parameters.of(gradients)
        arguments.dy, arguments.dx, arguments.dskip = pointer(dy), pointer(dx), pointer(dskip)
        call("rows_backward", arguments)
        dcontext = None if context is None else dx.view(len(context), -1, dx.shape[-1]).sum(dim=1)
        return dx, dskip, dcontext, None, None, None, *gradients


def _arguments(
    x: Tensor,
    skip: Tensor,
    context: Tensor | None,
    parameters: Sequence[Tensor | None],
    dropout: Dropout,
    eps: float,
    may_fold: bool = False,
) -> Rows:
    rows = x.numel() // x.shape[-1]
    return Rows(
        rows=rows,
        d=x.shape[-1],
        out=skip.shape[-1],
        repeat=1 if context is None or not len(context) else rows // len(context),
        threads=torch.get_num_threads(),
        may_fold=may_fold,
        eps=eps,
        parameters=Parameters.of(parameters),
        dropout=dropout,
        x=pointer(x),
        context=pointer(context),
        skip=pointer(skip),
    )
