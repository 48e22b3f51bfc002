"""One layer of an LSTM as one autograd function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import LstmArguments, pointer, pointers
from fusecast.kernels.library import call


def lstm_layer(
    x: Tensor, hidden: Tensor, cell: Tensor, parameters: tuple[Tensor, Tensor, Tensor, Tensor], mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer of an LSTM over ``x [B, T, d_in]`` from the states ``[B, d]``.

    `parameters` are those of ``nn.LSTM``: weights of inputs and states, biases of both. Steps that are False in `mask`
    ``[B, T]`` are skipped: their output is 0, and the state is that of the step before.

    Returns
    -------
    The outputs ``[B, T, d]``, and the last hidden and cell state ``[B, d]``.
    """
    from_input, from_state, input_bias, state_bias = parameters
    bias = input_bias + state_bias
    output, last_hidden, last_cell = _LstmLayer.apply(
        x, hidden, cell, from_input, from_state, bias, mask, torch.is_grad_enabled()
    )
    return output, last_hidden, last_cell


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
        tensors = (x, gates, hiddens, cells, from_input, from_state, bias, mask)
        arguments = _arguments(*tensors)
        arguments.output = pointer(output)
        call("lstm_forward", arguments)
        ctx.save_for_backward(*tensors)
        return hiddens[:, 1:] if output is None else output, hiddens[:, -1].clone(), cells[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor, dhidden: Tensor, dcell: Tensor) -> tuple[Any, ...]:
        x, gates, hiddens, cells, from_input, from_state, bias, mask = ctx.saved_tensors
        doutput, dhidden, dcell = doutput.contiguous(), dhidden.clone(), dcell.clone()
        dgates, dx = torch.empty_like(gates), torch.empty_like(x)
        sums = [torch.zeros_like(weight) for weight in (from_input, from_state, bias)]
        arguments = _arguments(x, gates, hiddens, cells, from_input, from_state, bias, mask)
        arguments.doutput, arguments.dhidden, arguments.dcell = map(pointer, (doutput, dhidden, dcell))
        arguments.dgates, arguments.dx = pointer(dgates), pointer(dx)
        arguments.dfrom_input, arguments.dfrom_state, arguments.dbias = map(pointer, sums)
        call("lstm_backward", arguments)
        return dx, dhidden, dcell, *sums, None, None


def _arguments(
    x: Tensor,
    gates: Tensor | None,
    hiddens: Tensor,
    cells: Tensor,
    from_input: Tensor,
    from_state: Tensor,
    bias: Tensor,
    mask: Tensor | None,
) -> LstmArguments:
    return LstmArguments(
        windows=x.shape[0],
        steps=x.shape[1],
        inputs=x.shape[2],
        d=hiddens.shape[-1],
        threads=torch.get_num_threads(),
        **pointers(from_input=from_input, from_state=from_state, bias=bias, mask=mask),
        **pointers(x=x, gates=gates, hidden=hiddens, cell=cells),
    )
