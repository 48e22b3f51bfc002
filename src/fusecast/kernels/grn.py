"""Gated residual networks and gates over rows, after their first linear map, as one autograd function."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import Dropout, GrnArguments, GrnParameters, SelectionArguments, padded, pointers
from fusecast.kernels.library import call

MAX_SAVED_BYTES = 2**27
"""Bytes that one call may save for its backward pass; beyond, it recomputes them, a quarter more products."""


def gated_rows(
    x: Tensor, skip: Tensor, context: Tensor | None, parameters: Sequence[Tensor | None], dropout: float, eps: float
) -> Tensor:
    """Compute ``LayerNorm(skip + GLU(dropout(W_h elu(x + context) + b_h)))``, or without W_h and the ELU.

    `x` is ``[..., d]``, `skip` ``[..., out]``, `context` ``[B, d]`` or None: equally many consecutive rows for each of
    the B. `parameters` are weight and bias of the hidden map (None and None without it), of the gate and of the norm;
    `dropout` is the share to drop, 0 outside training; `eps` is added to the variance in the norm.
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
        context, *contiguous = (None if tensor is None else tensor.contiguous() for tensor in (context, *parameters))
        ctx.dropout, ctx.eps = Dropout.draw(dropout), eps
        ctx.save_for_backward(x, skip, context, *contiguous)
        y = torch.empty_like(skip)
        rows = skip.numel() // skip.shape[-1]
        ctx.saved_rows = None if may_fold else SavedRows.allocate(x, 1, rows, x.shape[-1], skip.shape[-1])
        arguments = _arguments(x, skip, context, contiguous, ctx, may_fold)
        arguments.y = y.data_ptr()
        call("grn_forward", arguments)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        x, skip, context, *parameters = ctx.saved_tensors
        gradients = [None if p is None else torch.zeros_like(p) for p in parameters]
        dx, dskip, dy = torch.empty_like(x), torch.empty_like(skip), dy.contiguous()
        arguments = _arguments(x, skip, context, parameters, ctx)
        arguments.gradients = GrnParameters.point_to(gradients)
        arguments.dy, arguments.dx, arguments.dskip = (tensor.data_ptr() for tensor in (dy, dx, dskip))
        call("grn_backward", arguments)
        ctx.saved_rows = None  # overwritten: another backward pass recomputes them
        dcontext = None if context is None else dx.view(len(context), -1, dx.shape[-1]).sum(dim=1)
        return dx, dskip, dcontext, None, None, None, *gradients


def _arguments(
    x: Tensor,
    skip: Tensor,
    context: Tensor | None,
    parameters: Sequence[Tensor | None],
    ctx: Any,
    may_fold: bool = False,
) -> GrnArguments:
    rows = x.numel() // x.shape[-1]
    arguments = GrnArguments(
        rows=rows,
        d=x.shape[-1],
        out=skip.shape[-1],
        repeat=1 if context is None or not len(context) else rows // len(context),
        threads=torch.get_num_threads(),
        may_fold=may_fold,
        eps=ctx.eps,
        parameters=GrnParameters.point_to(parameters),
        dropout=ctx.dropout,
        **pointers(x=x, context=context, skip=skip),
    )
    if ctx.saved_rows is not None:
        ctx.saved_rows.attach(arguments)
    return arguments


class SavedRows:
    """What the forward pass saves of each network: the hidden map after dropout; values and open gates.

    ``[rows, dp]`` and ``[rows, 2 op]``, widths padded. Each network has its own tensors: glibc reuses the memory of
    freed ones only up to a size.
    """

    def __init__(self, like: Tensor, networks: int, rows: int, widths: tuple[int, int]) -> None:
        self._tensors = [[like.new_empty(rows, width) for _ in range(networks)] for width in widths]
        array = ctypes.c_void_p * networks
        self._addresses = [array(*(tensor.data_ptr() for tensor in tensors)) for tensors in self._tensors]

    @classmethod
    def allocate(cls, like: Tensor, networks: int, rows: int, d: int, out: int) -> SavedRows | None:
        """Allocate the rows, or return None where they would take more than MAX_SAVED_BYTES."""
        widths = padded(d), 2 * padded(out)
        size = networks * rows * sum(widths) * like.element_size()
        return cls(like, networks, rows, widths) if size <= MAX_SAVED_BYTES else None

    def attach(self, arguments: GrnArguments | SelectionArguments) -> None:
        """Point the arguments of a kernel to the rows, which must outlive the call."""
        arguments.saved_z, arguments.saved_gates = map(ctypes.addressof, self._addresses)
