"""Interpretable multi-head attention (equations 13 to 16): heads differ in where they look, not in what they see."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.kernels.attention import attend
from fusecast.kernels.bindings import kernels_supported
from fusecast.model.masking import masked_softmax


class InterpretableMultiHeadAttention(nn.Module):
    """Attend from the steps of the horizon to all steps up to each of them.

        A_m    = softmax(Q W_Qm (K W_Km)' / sqrt(d_head))        one a head m, rows sum to 1
        out    = (mean_m A_m) (V W_V) W_H                        one W_V for all heads, of width d_head

    No map has a bias, as in the paper, unless `bias` gives one to all but the last. Dropout acts on the weights of
    each head, as in the paper's code (which has two more, on the heads and on the result: the gate that follows has
    its own, so they are left out). The weights given back are those before dropout.
    """

    def __init__(
        self, d_model: int, num_heads: int, *, dropout: float, bias: bool = False, mask: str = "inclusive"
    ) -> None:
        super().__init__()
        self.mask = mask
        self.num_heads = num_heads
        self.d_head = d_model // num_heads
        self.query = nn.Linear(d_model, num_heads * self.d_head, bias=bias)
        self.key = nn.Linear(d_model, num_heads * self.d_head, bias=bias)
        self.value = nn.Linear(d_model, self.d_head, bias=bias)
        self.output = nn.Linear(self.d_head, d_model, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, asking: Tensor, past_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend from the last steps.

        Parameters
        ----------
        steps
            ``[B, T, d]``, past before future.
        asking
            ``[B, H, d]``: the last H of the steps, the horizon. Step h sees the past and the steps of the horizon up
            to itself (or, by `mask`, before itself, or all).
        past_mask
            bool ``[B, L]``, False where a step must not be seen; None when all may be.

        Returns
        -------
        The attended vectors ``[B, H, d]``, and the weights averaged over heads ``[B, H, T]``.
        """
        (B, T, _), horizon = steps.shape, asking.shape[1]
        queries = self.query(asking).view(B, horizon, self.num_heads, self.d_head)
        if kernels_supported(queries, steps):
            ahead = {"inclusive": 1, "strict": 0, "none": horizon}[self.mask]
            share = self.dropout.p if self.training else 0.0
            mixed, mean = attend(queries, self._keys_and_value(steps), past_mask, ahead=ahead, dropout=share)
            return self.output(mixed), mean
        keys = self.key(steps).view(B, T, self.num_heads, self.d_head)
        queries, keys = queries.transpose(1, 2), keys.transpose(1, 2)
        scores = queries @ keys.mT / math.sqrt(self.d_head)  # [B, heads, H, T]
        weights = masked_softmax(scores, _visible(T, horizon, past_mask, self.mask, steps.device))
        # The value is shared, so averaging weights before the product equals averaging heads after it.
        mixed = self.dropout(weights).mean(dim=1) @ self.value(steps)
        return self.output(mixed), weights.mean(dim=1)

    def _keys_and_value(self, steps: Tensor) -> Tensor:
        """Apply both maps in one product: ``[B, T, (heads + 1) * d_head]``."""
        bias = None if self.key.bias is None else torch.cat((self.key.bias, self.value.bias))
        return functional.linear(steps, torch.cat((self.key.weight, self.value.weight)), bias)


def _visible(num_steps: int, horizon: int, past_mask: Tensor | None, mask: str, device: torch.device) -> Tensor:
    """Say which step of the horizon sees which step: bool ``[H, T]``, or ``[B, 1, H, T]`` with a mask of the past."""
    step = torch.arange(num_steps, device=device)
    asking = step[num_steps - horizon :].unsqueeze(-1)
    seen_until = {"inclusive": asking, "strict": asking - 1, "none": asking + horizon}
    causal = step <= seen_until[mask]
    if past_mask is None:
        return causal
    future = past_mask.new_ones(past_mask.shape[0], horizon)
    return causal & torch.cat((past_mask, future), dim=1).view(-1, 1, 1, num_steps)
