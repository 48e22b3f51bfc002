"""An LSTM over the valid steps of each window, for devices that must not be asked how many those are."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

SHUT = 1e4
"""What closes a gate, or opens it, to the last bit: a sigmoid of it is 1, and of its negative 0."""


@torch.compiler.disable  # type: ignore[untyped-decorator]  # traced, it would be unrolled step by step
def run_valid_steps(
    lstm: nn.LSTM, x: Tensor, state: tuple[Tensor, Tensor], mask: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Do what `lstm` does over the steps that `mask` lets through, as if they stood side by side.

    Packed sequences are told their lengths on the host, which would have to wait for the device. Here the valid steps
    of a window go to its end, and the others wait in front of them. What makes them wait are inputs beside x:

        1 where a step waits       shuts the input and the output gate and opens the forget gate, so that the cell
                                   stays as it is, and the hidden state is 0
        the first hidden state     at the first valid step, by the weights that the hidden state has: there, the one
                                   before is 0

    Parameters
    ----------
    x
        ``[B, L, d_in]``.
    state
        Hidden and cell state of every layer before the first valid step, ``[layers, B, d]`` each.
    mask
        bool ``[B, L]``.

    Returns
    -------
    The outputs ``[B, L, d]``, 0 where a step is not valid, and the states after the last valid step.
    """
    B, L, d = *mask.shape, lstm.hidden_size
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)  # valid steps last, in their order
    valid = mask.sum(dim=1, keepdim=True)
    place = torch.arange(L, device=x.device)
    waits = (place < L - valid).to(x.dtype).unsqueeze(-1)  # [B, L, 1]
    begins = (place == L - valid).to(x.dtype).unsqueeze(-1)
    x = x.gather(1, order.unsqueeze(-1).expand_as(x))
    nothing = x.new_zeros(1, B, d)
    hiddens, cells = [], []
    for layer, (from_input, from_state, input_bias, state_bias) in enumerate(lstm.all_weights):
        hidden, cell = state[0][layer], state[1][layer]
        if layer:
            x = functional.dropout(x, lstm.dropout, lstm.training)
        # in torch's order: input gate, forget gate, what is proposed to the cell, output gate
        column = [from_input.new_full((d, 1), value) for value in (-SHUT, SHUT, 0.0, -SHUT)]
        weights = [torch.cat((from_input, torch.cat(column), from_state), dim=1), from_state, input_bias, state_bias]
        inputs = torch.cat((x, waits, begins * hidden.unsqueeze(1)), dim=-1)
        start = (nothing, cell.unsqueeze(0).contiguous())
        with warnings.catch_warnings():  # such weights are small enough to be put side by side at every call
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
            x, last, last_cell = torch.lstm(inputs, start, weights, True, 1, 0.0, lstm.training, False, True)
        hiddens.append(torch.where(valid == 0, hidden, last[0]))
        cells.append(last_cell[0])
    back = order.argsort(dim=1).unsqueeze(-1).expand(B, L, d)
    return x.gather(1, back), (torch.stack(hiddens), torch.stack(cells))
