"""Interpretable multi-head attention (equations 13 to 16): heads differ in their weights and share their values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.kernels.attention import attend
from fusecast.kernels.library import kernels_supported
from fusecast.model.config import AttentionMask
from fusecast.model.masking import masked_softmax


class InterpretableMultiHeadAttention(nn.Module):
    """Attend from each step of the horizon to all steps up to it.

        A_m    = softmax(Q W_Qm (K W_Km)' / sqrt(d_head))        one a head m, rows sum to 1
        out    = (mean_m A_m) (V W_V) W_H                        one W_V for all heads, of width d_head

    No map has a bias, as in the paper, unless `bias` adds one to all but the last. Dropout acts on the weights of
    each head, as in the paper's code (its two others, on the heads and on the result, are left out: the gate that
    follows has its own). The returned weights are those before dropout.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        dropout: float,
        bias: bool = False,
        mask: AttentionMask = "inclusive",
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
        """Attend from the last steps.

        Parameters
        ----------
        steps
            ``[B, T, d]``, past before future.
        horizon_steps
            ``[B, H, d]``: the last H of the steps, the queries. Step h attends to the past and to the steps of the
            horizon up to itself (or, by `mask`, before itself, or all).
        past_mask
            bool ``[B, L]``, False where a step is masked; None when none is.

        Returns
        -------
        The attended vectors ``[B, H, d]``, and the weights averaged over heads ``[B, H, T]``.
        """
        (B, T, _), horizon = steps.shape, horizon_steps.shape[1]
        queries = self.query(horizon_steps).view(B, horizon, self.num_heads, self.d_head)
        if kernels_supported(queries, steps):
            dropout = self.dropout.p if self.training else 0.0
            keys_and_value, ahead = self._keys_and_value(steps), self.steps_ahead(horizon)
            mixed, mean = attend(queries, keys_and_value, past_mask, ahead=ahead, dropout=dropout)
            return self.output(mixed), mean
        keys = self.key(steps).view(B, T, self.num_heads, self.d_head)
        queries, keys = queries.transpose(1, 2), keys.transpose(1, 2)
        scores = queries @ keys.mT / math.sqrt(self.d_head)  # [B, heads, H, T]
        weights = masked_softmax(scores, _visible_steps(T, horizon, past_mask, self.mask, steps.device))
        # The value is shared, so averaging weights before the product equals averaging heads after it.
        mixed = self.dropout(weights).mean(dim=1) @ self.value(steps)
        return self.output(mixed), weights.mean(dim=1)

    def steps_ahead(self, horizon: int) -> int:
        """Return n such that step h of the horizon attends to the steps before ``L + h + n``."""
        return {"inclusive": 1, "strict": 0, "none": horizon}[self.mask]

    def _keys_and_value(self, steps: Tensor) -> Tensor:
        """Apply both maps in one product: ``[B, T, (heads + 1) * d_head]``."""
        bias = None if self.key.bias is None else torch.cat((self.key.bias, self.value.bias))
        return functional.linear(steps, torch.cat((self.key.weight, self.value.weight)), bias)


def _visible_steps(
    num_steps: int, horizon: int, past_mask: Tensor | None, mask: AttentionMask, device: torch.device
) -> Tensor:
    """Return the steps that each step of the horizon attends to: bool ``[H, T]``, ``[B, 1, H, T]`` with a past mask."""
    step = torch.arange(num_steps, device=device)
    query_step = step[num_steps - horizon :].unsqueeze(-1)
    last_visible = {"inclusive": query_step, "strict": query_step - 1, "none": query_step + horizon}
    causal = step <= last_visible[mask]
    if past_mask is None:
        return causal
    future = past_mask.new_ones(past_mask.shape[0], horizon)
    return causal & torch.cat((past_mask, future), dim=1).view(-1, 1, 1, num_steps)
