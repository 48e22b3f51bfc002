"""One layer of an LSTM, and the last steps of what it and later layers compute, as autograd functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import LstmArguments, pointer, pointers
from fusecast.kernels.library import call, kernels_supported


def lstm_layer(
    x: Tensor, hidden: Tensor, cell: Tensor, parameters: Sequence[Tensor], mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer of an LSTM over ``x [B, T, d_in]`` from the states ``[B, d]``.

    `parameters` are those of ``nn.LSTM``: weights of inputs and states, biases of both. Steps that are False in `mask`
    ``[B, T]`` are skipped: their output is 0, and the state is that of the step before. Return the outputs
    ``[B, T, d]``, and the last hidden and cell state ``[B, d]``.
    """
    from_input, from_state, input_bias, state_bias = parameters
    bias = input_bias + state_bias
    output, last_hidden, last_cell = _LstmLayer.apply(
        x, hidden, cell, from_input, from_state, bias, mask, torch.is_grad_enabled()
    )
    return output, last_hidden, last_cell


def split_tail(steps: Tensor, length: int, reader: nn.Module) -> tuple[Tensor, Tensor]:
    """Return ``steps [B, T, d]``, to be used in place of the argument, and the last of them, ``[B, length, d]``.

    The gradient of a slice is a tensor of zeros but for the slice, which is then added to that of the whole. Here it is
    added in place, to the gradient of the first result: that must therefore only be used where gradients are new
    tensors, in linear maps and kernels. `reader` is the module that gets it.
    """
    if kernels_supported((reader,), steps) and torch.is_grad_enabled() and steps.requires_grad:
        whole, tail = _SplitTail.apply(steps, length)
        return whole, tail
    return steps, steps[:, steps.shape[1] - length :]


class _LstmLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        hidden: Tensor,
        cell: Tensor,
        from_input: Tensor,
        from_state: Tensor,
        bias: Tensor,
        mask: Tensor | None,
        differentiable: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        (B, T), d = x.shape[:2], hidden.shape[-1]
        x, from_input, from_state = x.contiguous(), from_input.contiguous(), from_state.contiguous()
        mask = None if mask is None else mask.contiguous()
        gates = x.new_empty(B, T, 4 * d) if differentiable else None
        hiddens, cells = x.new_empty(B, T + 1, d), x.new_empty(B, T + 1, d)
        hiddens[:, 0], cells[:, 0] = hidden, cell
        output = None if mask is None else x.new_empty(B, T, d)
        arguments = _arguments(x, hiddens, cells, gates, from_input, from_state, bias, mask)
        arguments.output = pointer(output)
        call("lstm_forward", arguments)
        ctx.save_for_backward(x, hiddens, cells, gates, from_input, from_state, bias, mask)
        return hiddens[:, 1:] if output is None else output, hiddens[:, -1].clone(), cells[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor, dhidden: Tensor, dcell: Tensor) -> tuple[Any, ...]:
        x, _, _, gates, *weights, _ = ctx.saved_tensors
        doutput, dhidden, dcell = doutput.contiguous(), dhidden.clone(), dcell.clone()
        dgates, dx = torch.empty_like(gates), torch.empty_like(x)
        sums = [torch.zeros_like(weight) for weight in weights]
        arguments = _arguments(*ctx.saved_tensors)
        arguments.doutput, arguments.dhidden, arguments.dcell = map(pointer, (doutput, dhidden, dcell))
        arguments.dgates, arguments.dx = pointer(dgates), pointer(dx)
        arguments.dfrom_input, arguments.dfrom_state, arguments.dbias = map(pointer, sums)
        call("lstm_backward", arguments)
        return dx, dhidden, dcell, *sums, None, None


def _arguments(x: Tensor, hiddens: Tensor, *others: Tensor | None) -> LstmArguments:
    """Build the arguments from x, the states, the gates, the weights of inputs and states, the bias, and the mask."""
    names = ("cell", "gates", "from_input", "from_state", "bias", "mask")
    windows, steps, inputs = x.shape
    return LstmArguments(
        windows=windows, steps=steps, inputs=inputs, d=hiddens.shape[-1], threads=torch.get_num_threads(),
        **pointers(x=x, hidden=hiddens, **dict(zip(names, others, strict=True))),
    )  # fmt: skip


class _SplitTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: Tensor, length: int) -> tuple[Tensor, Tensor]:
        ctx.length = length
        return steps.view_as(steps), steps[:, steps.shape[1] - length :].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dwhole: Tensor, dtail: Tensor) -> tuple[Tensor, None]:
        dwhole[:, -ctx.length :] += dtail
        return dwhole, None
