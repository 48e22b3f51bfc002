"""Adam: the optimizer, and the clipping of gradients, in one call each for all parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from fusecast.kernels.bindings import Adam, call
from fusecast.kernels.library import library


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` whose step is one call of a kernel, where it can be (Loshchilov, Hutter 2019).

    A network has some 140 small tensors, and torch spends more time on calls than on their numbers. State and state
    dict are those of torch, and go from one to the other.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do a step; the closure, where there is one, is called first and its loss given back."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = [(group, with_gradients(group["params"])) for group in self.param_groups]
        if all(_is_plain(group) and usable(parameters) for group, parameters in moved):
            for group, parameters in moved:
                self._step(group, parameters)
        else:
            super().step()
        return loss

    def _step(self, group: dict[str, Any], parameters: Sequence[Tensor]) -> None:
        states = [self._state_of(parameter) for parameter in parameters]
        arrays = Arrays(parameters)
        beta1, beta2 = group["betas"]
        arguments = arrays.arguments(
            rate=group["lr"], decay=group["weight_decay"], beta1=beta1, beta2=beta2, eps=group["eps"]
        )
        arguments.parameter = arrays.addresses(parameters)
        arguments.mean = arrays.addresses([state["exp_avg"] for state in states])
        arguments.square = arrays.addresses([state["exp_avg_sq"] for state in states])
        arguments.steps = arrays.addresses([state["step"] for state in states])
        call("adamw", arguments)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def clip_gradients(optimizer: torch.optim.Optimizer, most: float) -> None:
    """Scale the gradients of all parameters of an optimizer in place, so that their norm together is `most` at most.

    It is ``clip_grad_norm_`` in one call.
    """
    parameters = with_gradients(p for group in optimizer.param_groups for p in group["params"])
    if usable(parameters):
        arrays = Arrays(parameters)
        call("clip", arrays.arguments(most=most))
    else:
        clip_grad_norm_(parameters, most)


class Arrays:
    """Arrays of sizes and addresses, which live as long as this."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.kept: list[NDArray[Any]] = []
        self.count = len(parameters)
        self.start = self._keep(np.array([0, *accumulate(p.numel() for p in parameters)], dtype=np.int64))
        self.gradient = self.addresses([gradient_of(p) for p in parameters])

    def arguments(self, **numbers: float) -> Adam:
        """Give the kernel's arguments, with sizes and gradients filled in."""
        threads = torch.get_num_threads()
        return Adam(tensors=self.count, threads=threads, start=self.start, gradient=self.gradient, **numbers)

    def addresses(self, tensors: Sequence[Tensor]) -> int:
        """Give the address of an array of the addresses of tensors."""
        return self._keep(np.array([tensor.data_ptr() for tensor in tensors], dtype=np.uint64))

    def _keep(self, array: NDArray[Any]) -> int:
        self.kept.append(array)
        return array.ctypes.data


def with_gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Give those parameters that have a gradient."""
    return [parameter for parameter in parameters if parameter.grad is not None]


def gradient_of(parameter: Tensor) -> Tensor:
    """Give the gradient of a parameter that has one."""
    assert parameter.grad is not None
    return parameter.grad


def usable(parameters: Sequence[Tensor]) -> bool:
    """Say whether the kernels may work on these and their gradients, whose kind and device torch keeps equal."""
    if library() is None:
        return False
    for parameter in parameters:
        gradient = gradient_of(parameter)
        if not (gradient.is_cpu and gradient.dtype is torch.float32 and gradient.layout is torch.strided):
            return False
        if not (gradient.is_contiguous() and parameter.is_contiguous()):
            return False
    return True


def _is_plain(group: dict[str, Any]) -> bool:
    """Whether a group of parameters asks for nothing that the kernel does not know."""
    others = ("amsgrad", "maximize", "capturable", "differentiable")
    return bool(group["fused"]) and not any(group[name] for name in others) and not isinstance(group["lr"], Tensor)
