"""The LSTMs of a network as nodes of ONNX, which have lengths of sequences but no masks."""

# ruff: noqa: ARG004  the weights are arguments of the operator

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fusecast.model.lstm import SequenceToSequence

OPSET = 18
"""Version of the operators of ONNX; onnxruntime-web knows it too."""


class OnnxRecurrence(nn.Module):
    """What :class:`~fusecast.model.lstm.SequenceToSequence` computes, for tracing alone: it has no values in torch."""

    def __init__(self, recurrence: SequenceToSequence) -> None:
        super().__init__()
        self.num_layers = recurrence.num_layers
        self.d = recurrence.encoder.hidden_size
        for name, lstm in (("encoder", recurrence.encoder), ("decoder", recurrence.decoder)):
            for layer, (from_input, from_state, input_bias, state_bias) in enumerate(lstm.all_weights):
                biases = torch.cat((_reorder(input_bias), _reorder(state_bias)))
                for kind, value in (("W", _reorder(from_input)), ("R", _reorder(from_state)), ("B", biases)):
                    self.register_buffer(f"{name}_{kind}{layer}", value.detach().unsqueeze(0).clone())

    def forward(
        self, past: Tensor, future: Tensor, *, hidden: Tensor | None, cell: Tensor | None, past_mask: Tensor
    ) -> Tensor:
        """Run over ``past [B, L, d]``, its masked steps left out, and ``future [B, H, d]``: ``[B, T, d]``."""
        B, L = past.shape[:2]
        if hidden is None or cell is None:
            hidden = cell = past.new_zeros(B, self.d)
        step = torch.arange(L)
        lengths = past_mask.sum(dim=1)
        order = _argsort(torch.where(past_mask, step, step + L))  # valid steps first, in their order
        x = past.gather(1, order.unsqueeze(-1).expand(B, L, self.d))
        empty = (lengths == 0).unsqueeze(1)
        state = []
        for layer in range(self.num_layers):
            x, last_hidden, last_cell = self._run("encoder", layer, x, hidden, cell, lengths.clamp(min=1))
            state.append((torch.where(empty, hidden, last_hidden), torch.where(empty, cell, last_cell)))
        encoded = x.gather(1, _argsort(order).unsqueeze(-1).expand(B, L, self.d))
        encoded = encoded.masked_fill(~past_mask.unsqueeze(-1), 0.0)
        x, steps = future, torch.full_like(lengths, future.shape[1])
        for layer, (last_hidden, last_cell) in enumerate(state):
            x, _, _ = self._run("decoder", layer, x, last_hidden, last_cell, steps)
        return torch.cat((encoded, x), dim=1)

    def _run(
        self, name: str, layer: int, x: Tensor, hidden: Tensor, cell: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run one layer over the first steps of ``x [B, T, d]``: its outputs, and the last state."""
        weights = (getattr(self, f"{name}_{kind}{layer}") for kind in "WRB")
        output, last_hidden, last_cell = _Lstm.apply(
            self.d, x.transpose(0, 1), *weights, lengths.to(torch.int32), hidden.unsqueeze(0), cell.unsqueeze(0)
        )
        return output.squeeze(1).transpose(0, 1), last_hidden.squeeze(0), last_cell.squeeze(0)


class _Lstm(torch.autograd.Function):
    """The operator LSTM of ONNX; in torch it has results of the right shapes, which are not used."""

    @staticmethod
    def forward(
        _: Any, d: int, x: Tensor, w: Tensor, r: Tensor, b: Tensor, lengths: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return x.unsqueeze(1).clone(), hidden.clone(), cell.clone()

    @staticmethod
    def symbolic(g: Any, d: int, x: Any, w: Any, r: Any, b: Any, lengths: Any, hidden: Any, cell: Any) -> Any:
        return g.op("LSTM", x, w, r, b, lengths, hidden, cell, hidden_size_i=d, outputs=3)


def _reorder(gates: Tensor) -> Tensor:
    """Return the rows of the gates of torch (input, forget, cell, output) in the order of ONNX."""
    i, f, c, o = gates.chunk(4)
    return torch.cat((i, o, f, c))


def _argsort(keys: Tensor) -> Tensor:
    """Return the order of different keys in the last dimension; TopK alone is an operator of ONNX."""
    return torch.topk(keys, keys.shape[-1], dim=-1, largest=False).indices
