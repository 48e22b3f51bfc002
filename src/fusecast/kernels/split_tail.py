"""The last steps of a sequence, without the cost of a slice in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.library import kernels_supported


def split_tail(steps: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return ``steps [B, T, d]``, to be used in place of the argument, and the last of them, ``[B, length, d]``.

    The gradient of a slice is a tensor of zeros but for the slice, which is then added to that of the whole. Here it is
    added in place, to the gradient of the first result: that must therefore only be used where gradients are new
    tensors, in linear maps and kernels.
    """
    if kernels_supported(steps) and torch.is_grad_enabled() and steps.requires_grad:
        whole, tail = _SplitTail.apply(steps, length)
        return whole, tail
    return steps, steps[:, steps.shape[1] - length :]


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
