"""The sequence-to-sequence layer (section 4.5.1): an LSTM over the past passes its state to an LSTM over the future."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fusecast.kernels.library import are_plain, kernels_supported
from fusecast.kernels.lstm import lstm_layer

State = tuple[Tensor, Tensor]
"""Hidden and cell state of every layer, ``[layers, B, d]`` each."""

GATE_SATURATION = 1e4
"""An input that closes or opens a gate to the last bit: its sigmoid is 1, and that of its negative 0."""


class SequenceToSequence(nn.Module):
    """Encode the past, decode the future (section 4.5.1).

    Every layer starts from the same initial state: the static contexts, or zeros where there are none. Several layers
    have the dropout of ``nn.LSTM`` between them. Masked steps of the past are skipped exactly: the result is that of
    the window without them, and the decoder continues from the last valid step (from the initial state, where no step
    is valid).

    It always computes in the precision of its weights: in float16 the small gradients of early steps would vanish.
    """

    def __init__(self, d_model: int, num_layers: int, *, dropout: float) -> None:
        super().__init__()
        self.num_layers = num_layers
        between_layers = dropout if num_layers > 1 else 0.0
        self.encoder = nn.LSTM(d_model, d_model, num_layers, batch_first=True, dropout=between_layers)
        self.decoder = nn.LSTM(d_model, d_model, num_layers, batch_first=True, dropout=between_layers)

    def forward(
        self, past: Tensor, future: Tensor, *, hidden: Tensor | None, cell: Tensor | None, past_mask: Tensor | None
    ) -> Tensor:
        """Run over ``past [B, L, d]`` and ``future [B, H, d]`` from the contexts ``[B, d]``: ``[B, T, d]``.

        The contexts `hidden` and `cell` are the initial states; None for zeros. `past_mask` is bool ``[B, L]``, or None
        when all steps are valid. Outputs of masked steps are 0.
        """
        # Autocast runs cuDNN's LSTM in float16, whatever its own type; and oneDNN has no bfloat16 one for most CPUs.
        with torch.autocast(past.device.type, enabled=False):
            dtype = next(self.encoder.parameters(), past).dtype  # quantised layers have no parameters
            past, future = past.to(dtype), future.to(dtype)
            if hidden is None or cell is None:
                hidden = cell = past.new_zeros(past.shape[0], past.shape[-1])
            hidden, cell = (x.to(dtype).expand(self.num_layers, -1, -1).contiguous() for x in (hidden, cell))
            initial = hidden, cell
            if kernels_supported((self.encoder, self.decoder), past, future, *initial):
                encoded, state = _run_by_kernel(self.encoder, past, initial, past_mask)
                decoded, _ = _run_by_kernel(self.decoder, future, state, None)
                return torch.cat((encoded, decoded), dim=1)
            if past_mask is None:
                encoded, state = _call(self.encoder, past, initial)
            elif past.device.type == "cpu" or not are_plain((self.encoder,)):
                encoded, state = self._encode_valid_steps(past, past_mask, initial)
            else:
                encoded, state = run_valid_steps(self.encoder, past, initial, past_mask)
            decoded, _ = _call(self.decoder, future, state)
        return torch.cat((encoded, decoded), dim=1)

    def _encode_valid_steps(self, past: Tensor, mask: Tensor, initial: State) -> tuple[Tensor, State]:
        """Encode the valid steps as if they were adjacent, and scatter the outputs back to their positions."""
        lengths = mask.sum(dim=1)
        order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)  # valid steps first, in their order
        compact = past.gather(1, order.unsqueeze(-1).expand_as(past))
        # A packed sequence has no empty windows: those run one step, whose result is discarded below.
        packed = pack_padded_sequence(compact, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        packed_output, (hidden, cell) = _call(self.encoder, packed, initial)
        output, _ = pad_packed_sequence(packed_output, batch_first=True, total_length=past.shape[1])
        inverse = order.argsort(dim=1).unsqueeze(-1).expand_as(output)
        encoded = output.gather(1, inverse).masked_fill(~mask.unsqueeze(-1), 0.0)
        empty = (lengths == 0).view(1, -1, 1)
        return encoded, (torch.where(empty, initial[0], hidden), torch.where(empty, initial[1], cell))


def _call(lstm: nn.Module, x: Any, state: State) -> tuple[Any, State]:
    """Call an LSTM with its present weights: ``torch.func.functional_call`` leaves its own list of them as it was."""
    if isinstance(lstm, nn.LSTM) and not torch.compiler.is_compiling():
        weights = [getattr(lstm, name) for name in lstm._flat_weights_names]  # noqa: SLF001
        if any(one is not other for one, other in zip(weights, lstm._flat_weights, strict=True)):  # noqa: SLF001
            lstm._flat_weights = weights  # noqa: SLF001
    output, state = lstm(x, state)
    return output, state


@torch.compiler.disable  # type: ignore[untyped-decorator]  # traced, it would be unrolled step by step
def run_valid_steps(lstm: nn.LSTM, x: Tensor, state: State, mask: Tensor) -> tuple[Tensor, State]:
    """Run an LSTM over the valid steps as if they were adjacent, without reading the mask on the host.

    Packed sequences need their lengths on the host, which would wait for the device. Here the valid steps of a window
    are moved to its end, and the masked ones, before them, leave the state as it is. Two inputs beside x do that:

        1 at a masked step         closes the input and the output gate and opens the forget gate, so that the cell
                                   stays as it is, and the hidden state is 0
        the first hidden state     at the first valid step, multiplied by the weights of the hidden state: there, the
                                   previous one is 0

    `x` is ``[B, L, d_in]``, `state` that before the first valid step, and `mask` bool ``[B, L]``, True where a step is
    valid. Return the outputs ``[B, L, d]``, 0 where a step is not valid, and the state after the last valid step.
    """
    B, L, d = *mask.shape, lstm.hidden_size
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)  # valid steps last, in their order
    num_valid = mask.sum(dim=1, keepdim=True)
    step = torch.arange(L, device=x.device)
    is_masked = (step < L - num_valid).to(x.dtype).unsqueeze(-1)  # [B, L, 1]
    is_first = (step == L - num_valid).to(x.dtype).unsqueeze(-1)
    x = x.gather(1, order.unsqueeze(-1).expand_as(x))
    zeros = x.new_zeros(1, B, d)
    hiddens, cells = [], []
    for layer, (from_input, from_state, input_bias, state_bias) in enumerate(lstm.all_weights):
        hidden, cell = state[0][layer], state[1][layer]
        if layer:
            x = functional.dropout(x, lstm.dropout, lstm.training)
        # in torch's order: input gate, forget gate, cell candidate, output gate
        gate_inputs = (-GATE_SATURATION, GATE_SATURATION, 0.0, -GATE_SATURATION)
        column = [from_input.new_full((d, 1), value) for value in gate_inputs]
        weights = [torch.cat((from_input, torch.cat(column), from_state), dim=1), from_state, input_bias, state_bias]
        inputs = torch.cat((x, is_masked, is_first * hidden.unsqueeze(1)), dim=-1)
        initial = (zeros, cell.unsqueeze(0).contiguous())
        with warnings.catch_warnings():  # these weights are small enough to be copied at every call
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
            x, last_hidden, last_cell = torch.lstm(inputs, initial, weights, True, 1, 0.0, lstm.training, False, True)
        hiddens.append(torch.where(num_valid == 0, hidden, last_hidden[0]))
        cells.append(last_cell[0])
    inverse = order.argsort(dim=1).unsqueeze(-1).expand(B, L, d)
    return x.gather(1, inverse), (torch.stack(hiddens), torch.stack(cells))


def _run_by_kernel(lstm: nn.LSTM, x: Tensor, state: State, mask: Tensor | None) -> tuple[Tensor, State]:
    """Run an LSTM over the steps that are True in `mask`, by :mod:`fusecast.kernels`."""
    hiddens, cells = [], []
    for layer, weights in enumerate(lstm.all_weights):
        if layer:
            x = functional.dropout(x, lstm.dropout, lstm.training)
        x, hidden, cell = lstm_layer(x, state[0][layer], state[1][layer], weights, mask)
        hiddens.append(hidden)
        cells.append(cell)
    return x, (torch.stack(hiddens), torch.stack(cells))
