"""Gated residual networks and gates over rows, after their first linear map, as one autograd function."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import Dropout, GrnArguments, GrnParameters, SelectionArguments, padded, pointers
from fusecast.kernels.library import call

MAX_SAVED_BYTES = 2**27
"""Bytes that one call may save for its backward pass; beyond, it recomputes them, a quarter more products."""


class SavedRows(NamedTuple):
    """Per row: the hidden map after dropout ``[rows, dp]``; values and open gates ``[rows, 2 op]``; widths padded."""

    z: Tensor
    gates: Tensor


def allocate_saved_rows(like: Tensor, networks: int, rows: int, d: int, out: int) -> list[SavedRows] | None:
    """Allocate what the forward pass saves of each network, or return None where that is more than MAX_SAVED_BYTES.

    Each network has its own tensors: glibc reuses the memory of freed ones only up to a size.
    """
    width, gates = padded(d), 2 * padded(out)
    if networks * rows * (width + gates) * like.element_size() > MAX_SAVED_BYTES:
        return None
    return [SavedRows(like.new_empty(rows, width), like.new_empty(rows, gates)) for _ in range(networks)]


def attach_saved_rows(saved: list[SavedRows] | None, arguments: GrnArguments | SelectionArguments) -> None:
    """Point the arguments of a kernel to saved rows; the arrays of addresses live as long as the arguments."""
    if saved is None:
        return
    array = ctypes.c_void_p * len(saved)
    addresses = array(*(rows.z.data_ptr() for rows in saved)), array(*(rows.gates.data_ptr() for rows in saved))
    arguments.saved_z, arguments.saved_gates = map(ctypes.addressof, addresses)
    arguments.addresses = addresses


def gated_rows(
    x: Tensor, skip: Tensor, context: Tensor | None, parameters: Sequence[Tensor | None], dropout: float, eps: float
) -> Tensor:
    """Compute ``LayerNorm(skip + GLU(dropout(W_h elu(x + context) + b_h)))``, or without W_h and the ELU.

    Parameters
    ----------
    x, skip
        ``[..., d]`` and ``[..., out]``.
    context
        ``[B, d]``, or None: added to the rows of x, equally many consecutive rows for each of the B.
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
        ctx.saved_rows = None if may_fold else allocate_saved_rows(x, 1, rows, x.shape[-1], skip.shape[-1])
        arguments = _arguments(x, skip, context, parameters, ctx.dropout, eps, may_fold)
        arguments.y = y.data_ptr()
        attach_saved_rows(ctx.saved_rows, arguments)
        call("grn_forward", arguments)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        x, skip, context, *parameters = ctx.saved_tensors
        gradients = [None if p is None else torch.zeros_like(p) for p in parameters]
        dx, dskip, dy = torch.empty_like(x), torch.empty_like(skip), dy.contiguous()
        arguments = _arguments(x, skip, context, parameters, ctx.dropout, ctx.eps)
        saved_rows, ctx.saved_rows = ctx.saved_rows, None  # overwritten: another backward pass recomputes them
        attach_saved_rows(saved_rows, arguments)
        arguments.gradients = GrnParameters.point_to(gradients)
        arguments.dy, arguments.dx, arguments.dskip = (tensor.data_ptr() for tensor in (dy, dx, dskip))
        call("grn_backward", arguments)
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
) -> GrnArguments:
    rows = x.numel() // x.shape[-1]
    return GrnArguments(
        rows=rows,
        d=x.shape[-1],
        out=skip.shape[-1],
        repeat=1 if context is None or not len(context) else rows // len(context),
        threads=torch.get_num_threads(),
        may_fold=may_fold,
        eps=eps,
        parameters=GrnParameters.point_to(parameters),
        dropout=dropout,
        **pointers(x=x, context=context, skip=skip),
    )
