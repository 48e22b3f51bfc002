"""AdamW and the clipping of gradients, in one call each for all parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from fusecast.kernels.bindings import AdamWArguments
from fusecast.kernels.library import call, library


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` (Loshchilov, Hutter 2019) whose step is one call of a kernel, where it can be.

    A network has some 140 small tensors, and torch spends more time on calls than on their numbers. State and state
    dict are those of torch, and can be loaded from one into the other.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; raise a ValueError where it does not fit the parameters, since the kernel trusts its shapes."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for name in state.keys() | {"step", "exp_avg", "exp_avg_sq"}:
                value, shape = state.get(name), () if name == "step" else parameter.shape
                if not isinstance(value, Tensor) or value.shape != shape or not value.is_contiguous():
                    raise ValueError(f"{name} of the optimizer does not fit its parameter")
        for group in self.param_groups:
            numbers = (group["lr"], group["eps"], group["weight_decay"], *group["betas"])
            if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
                raise ValueError("an option of the optimizer is no finite number")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do a step; call the closure first, if there is one, and return its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [(group, select_with_gradient(group["params"])) for group in self.param_groups]
        scaled = hasattr(self, "found_inf")  # by a GradScaler, which leaves it to the fused step to unscale
        if not scaled and all(_has_plain_options(group) and gradients_supported(params) for group, params in groups):
            for group, parameters in groups:
                self._step(group, parameters)
        else:
            super().step()
        return loss

    def _step(self, group: dict[str, Any], parameters: Sequence[Tensor]) -> None:
        states = [self._get_state(parameter) for parameter in parameters]
        addresses = ParameterAddresses(parameters)
        beta1, beta2 = group["betas"]
        arguments = addresses.build_arguments(
            rate=group["lr"], decay=group["weight_decay"], beta1=beta1, beta2=beta2, eps=group["eps"],
            parameter=addresses.collect(parameters),
            mean=addresses.collect([state["exp_avg"] for state in states]),
            square=addresses.collect([state["exp_avg_sq"] for state in states]),
            steps=addresses.collect([state["step"] for state in states]),
        )  # fmt: skip
        call("adamw", arguments)

    def _get_state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Scale the gradients of all parameters of an optimizer in place, so that their joint norm is at most `max_norm`.

    The same as ``clip_grad_norm_``, in one call.
    """
    parameters = select_with_gradient(p for group in optimizer.param_groups for p in group["params"])
    if gradients_supported(parameters):
        addresses = ParameterAddresses(parameters)
        call("clip", addresses.build_arguments(max_norm=max_norm))
    else:
        clip_grad_norm_(parameters, max_norm)


class ParameterAddresses:
    """Sizes and addresses of tensors in arrays, which live as long as this object."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._arrays: list[NDArray[Any]] = []
        self.count = len(parameters)
        self.offsets = self._keep(np.array([0, *accumulate(p.numel() for p in parameters)], dtype=np.int64))
        self.gradient = self.collect([_gradient(p) for p in parameters])

    def build_arguments(self, **others: float) -> AdamWArguments:
        """Build the kernel's arguments, with sizes and gradients filled in."""
        sizes = {"tensors": self.count, "threads": torch.get_num_threads(), "offsets": self.offsets}
        return AdamWArguments(gradient=self.gradient, **sizes, **others)

    def collect(self, tensors: Sequence[Tensor]) -> int:
        """Collect the addresses of tensors in an array, and return the address of that."""
        return self._keep(np.array([tensor.data_ptr() for tensor in tensors], dtype=np.uint64))

    def _keep(self, array: NDArray[Any]) -> int:
        self._arrays.append(array)
        return array.ctypes.data


def select_with_gradient(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return those parameters that have a gradient."""
    return [parameter for parameter in parameters if parameter.grad is not None]


def gradients_supported(parameters: Sequence[Tensor]) -> bool:
    """Return whether the kernels may work on these and their gradients; torch keeps type and device of both equal."""
    return library() is not None and all(
        g.is_cpu and g.dtype is torch.float32 and g.layout is torch.strided and g.is_contiguous() and p.is_contiguous()
        for p, g in zip(parameters, map(_gradient, parameters), strict=True)
    )


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _has_plain_options(group: dict[str, Any]) -> bool:
    """Whether a group of parameters has no option that the kernel does not implement."""
    others = ("amsgrad", "maximize", "capturable", "differentiable")
    return bool(group["fused"]) and not any(group[name] for name in others) and not isinstance(group["lr"], Tensor)
