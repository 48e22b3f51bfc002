"""Interpretable multi-head attention (equations 13 to 16): heads differ in their weights and share their values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.kernels.attention import attend
from fusecast.kernels.library import kernels_supported
from fusecast.model.config import AttentionMask
from fusecast.model.gating import active_dropout


class InterpretableMultiHeadAttention(nn.Module):
    """Attend from each step of the horizon to all steps up to it (equations 13 to 16).

        A_m    = softmax(Q W_Qm (K W_Km)' / sqrt(d_head))        one a head m, rows sum to 1
        out    = (mean_m A_m) (V W_V) W_H                        one W_V for all heads, of width d_head

    No map has a bias, as in the paper, unless `bias` adds one to all but the last. Dropout acts on the weights of
    each head, as in the paper's code (its two others, on the heads and on the result, are left out: the gate that
    follows has its own). The returned weights are those before dropout.
    """

    def __init__(
        self, d_model: int, num_heads: int, *, dropout: float, bias: bool = False, mask: AttentionMask = "inclusive"
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

    def forward(self, steps: Tensor, horizon_steps: Tensor, past_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend from `horizon_steps` ``[B, H, d]``, the last of the `steps` ``[B, T, d]``.

        Step h attends to the past and to the steps of the horizon up to itself (or, by `mask`, before itself, or all).
        `past_mask` is bool ``[B, L]``, False where a step is masked; None when none is. Return the attended vectors
        ``[B, H, d]``, and the weights averaged over heads ``[B, H, T]``.
        """
        (B, T, _), horizon = steps.shape, horizon_steps.shape[1]
        queries = self.query(horizon_steps).view(B, horizon, self.num_heads, self.d_head)
        if kernels_supported((self.key, self.value, self.dropout), queries, steps):
            bias = None if self.key.bias is None else torch.cat((self.key.bias, self.value.bias))
            keys_and_value = functional.linear(steps, torch.cat((self.key.weight, self.value.weight)), bias)
            ahead, dropout = self.steps_ahead(horizon), active_dropout(self.dropout)
            mixed, mean = attend(queries, keys_and_value, past_mask, ahead=ahead, dropout=dropout)
            return self.output(mixed), mean
        keys = self.key(steps).view(B, T, self.num_heads, self.d_head)
        queries, keys = queries.transpose(1, 2), keys.transpose(1, 2)
        scores = queries @ keys.transpose(-2, -1) / math.sqrt(self.d_head)  # [B, heads, H, T]
        step, ahead = torch.arange(T, device=steps.device), self.steps_ahead(horizon)
        visible = step < step[T - horizon :].unsqueeze(-1) + ahead  # [H, T]
        if past_mask is not None:
            future = past_mask.new_ones(B, horizon)
            visible = visible & torch.cat((past_mask, future), dim=1).view(B, 1, 1, T)
        weights = masked_softmax(scores, visible)
        # The value is shared, so averaging weights before the product equals averaging heads after it.
        mixed = self.dropout(weights).mean(dim=1) @ self.value(steps)
        return self.output(mixed), weights.mean(dim=1)

    def steps_ahead(self, horizon: int) -> int:
        """Return n such that step h of the horizon attends to the steps before ``L + h + n``."""
        return {"inclusive": 1, "strict": 0, "none": horizon}[self.mask]


def masked_softmax(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Compute the softmax over the allowed entries of the last dimension, in float32 at least.

    `allowed` is bool and broadcasts to `logits`; None allows all. Entries that are not allowed become exactly 0; a row
    with none allowed is all 0, with gradient 0 and no NaN.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if allowed is None:
        return logits.softmax(dim=-1)
    # A row of -inf alone would be NaN, in the backward pass too, so such a row keeps its logits until the end.
    unmasked = allowed | ~allowed.any(dim=-1, keepdim=True)
    return logits.masked_fill(~unmasked, -torch.inf).softmax(dim=-1).masked_fill(~allowed, 0.0)
