"""Variable selection of pytorch-forecasting: embeddings narrower than d, whose residuals are interpolated to d.

Every variable there has an embedding of its own width, mostly less than d. Here it is padded with zeros, so that linear
maps of it keep their values; the interpolation, which is linear too, becomes part of the linear map of the residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.interop.rules import PARAMETERS, Rule, constant, copy

GATE, NORM = "gate_norm.glu.fc", "gate_norm.add_norm.norm"


@dataclass(frozen=True)
class Variable:
    """One input of a selection."""

    name: str
    width: int  # of its embedding
    has_network: bool  # a gated residual network; else it is only interpolated and normalised


def pad(x: Tensor, *shape: int) -> Tensor:
    """Pad a tensor with zeros at the ends of its dimensions."""
    padded = x.new_zeros(shape)
    padded[tuple(slice(size) for size in x.shape)] = x
    return padded


def interpolation_matrix(old: int, new: int) -> Tensor:
    """Return the matrix ``[new, old]`` of a linear interpolation that keeps both ends."""
    unit = torch.eye(old, dtype=torch.float64).unsqueeze(1)
    stretched: Tensor = functional.interpolate(unit, new, mode="linear", align_corners=True)
    return stretched.squeeze(1).T


def trainable_gain(mask: Tensor) -> Tensor:
    """Return the factors before the norm of a residual, 1 where training has not changed them."""
    return 2 * torch.sigmoid(mask)


def convert_selection(
    new: str, old: str, variables: Sequence[Variable], order: list[int], d: int, *, num_reals: int, normalised: bool
) -> list[Rule]:
    """Return the rules for a variable selection; `new` and `old` are prefixes of its names.

    `variables` are in their old order, and `order` has the old position of each in the order of this network, where the
    `num_reals` reals come first. `normalised` is whether the residual of a real's own network is layer-normed.
    """
    ordered = [variables[i] for i in order]
    rules = _joint(new, old, variables, order, d) if len(variables) > 1 else _no_joint(new, d)
    rules += _variables(f"{new}.variables", f"{old}.single_variable_grns", ordered, d)
    if old == "static_variable_selection":
        rules = [rule for rule in rules if rule.target != f"{new}.joint.from_context.weight"]
    if normalised and num_reals:
        rules += [
            _stack(
                f"{new}.variables.skip_norm.{name}",
                [f"{old}.single_variable_grns.{v.name}.resample_norm.norm.{name}" for v in ordered[:num_reals]],
                (d,),
            )
            for name in PARAMETERS
        ]
    return rules


def _stack(new: str, old: Sequence[str | None], shape: tuple[int, ...]) -> Rule:
    """Return the rule that pads and stacks tensors of single variables; None is a tensor of zeros."""

    def compute(*tensors: Tensor) -> Tensor:
        sources = iter(tensors)
        zeros = torch.zeros(shape, dtype=torch.float64)
        return torch.stack([zeros if name is None else pad(next(sources), *shape) for name in old])

    return Rule(new, tuple(name for name in old if name is not None), compute)


def _variables(new: str, old: str, ordered: Sequence[Variable], d: int) -> list[Rule]:
    """Return the rules for the variables' own networks. A variable without one has a gate here that is always 0."""

    def names(part: str) -> list[str | None]:
        return [f"{old}.{v.name}.{part}" if v.has_network else None for v in ordered]

    norms = [f"{old}.{v.name}.{NORM if v.has_network else 'norm'}" for v in ordered]
    return [
        _stack(f"{new}.from_input.weight", names("fc1.weight"), (d, d)),
        _stack(f"{new}.from_input.bias", names("fc1.bias"), (d,)),
        _stack(f"{new}.hidden.weight", names("fc2.weight"), (d, d)),
        _stack(f"{new}.hidden.bias", names("fc2.bias"), (d,)),
        _stack(f"{new}.gate.weight", names(f"{GATE}.weight"), (2 * d, d)),
        _stack(f"{new}.gate.bias", names(f"{GATE}.bias"), (2 * d,)),
        *(_stack(f"{new}.norm.{name}", [f"{norm}.{name}" for norm in norms], (d,)) for name in PARAMETERS),
        _skips(f"{new}.skip_weight", old, ordered, d),
    ]


def _skips(new: str, old: str, ordered: Sequence[Variable], d: int) -> Rule:
    """Return the rule for the residuals: the interpolation, times the trainable gain where there is one."""
    masks = {
        v.name: f"{old}.{v.name}.resample_norm.mask" if v.has_network else f"{old}.{v.name}.mask"
        for v in ordered
        if v.width != d or not v.has_network
    }

    def compute(*tensors: Tensor) -> Tensor:
        gains = dict(zip(masks, tensors, strict=True))
        maps = []
        for v in ordered:
            matrix = interpolation_matrix(v.width, d)
            if v.name in gains:
                matrix = trainable_gain(gains[v.name]).unsqueeze(1) * matrix
            maps.append(pad(matrix, d, d))
        return torch.stack(maps)

    return Rule(new, tuple(masks.values()), compute)


def _joint(new: str, old: str, variables: Sequence[Variable], order: list[int], d: int) -> list[Rule]:
    """Return the rules for the network of the selection weights; its inner width is min(d, V) there."""
    V, joint = len(variables), f"{old}.flattened_grn"
    widths = [v.width for v in variables]

    def columns(weight: Tensor) -> Tensor:  # [rows, sum of widths] -> [rows, V * d], in this network's order
        blocks = weight.split(widths, dim=1)
        return torch.cat([pad(blocks[i], len(weight), d) for i in order], dim=1)

    def halves(x: Tensor) -> Tensor:  # [2 V, ...]: values of all variables, then their gates
        return x.view(2, V, *x.shape[1:])[:, order].reshape(2 * V, *x.shape[1:])

    def skip(mask: Tensor) -> Tensor:
        return columns(trainable_gain(mask).unsqueeze(1) * interpolation_matrix(sum(widths), V))[order]

    return [
        copy(f"{new}.joint.from_input.weight", f"{joint}.fc1.weight", lambda x: pad(columns(x), d, V * d)),
        copy(f"{new}.joint.from_input.bias", f"{joint}.fc1.bias", lambda x: pad(x, d)),
        copy(f"{new}.joint.from_context.weight", f"{joint}.context.weight", lambda x: pad(x, d, d)),
        copy(f"{new}.joint.hidden.weight", f"{joint}.fc2.weight", lambda x: pad(x, d, d)),
        copy(f"{new}.joint.hidden.bias", f"{joint}.fc2.bias", lambda x: pad(x, d)),
        copy(f"{new}.joint.gate.projection.weight", f"{joint}.{GATE}.weight", lambda x: pad(halves(x), 2 * V, d)),
        copy(f"{new}.joint.gate.projection.bias", f"{joint}.{GATE}.bias", halves),
        *(copy(f"{new}.joint.norm.{name}", f"{joint}.{NORM}.{name}", lambda x: x[order]) for name in PARAMETERS),
        copy(f"{new}.joint.skip.weight", f"{joint}.resample_norm.mask", skip),
        constant(f"{new}.joint.skip.bias", torch.zeros(V)),
        *(
            copy(f"{new}.skip_norm.{name}", f"{joint}.resample_norm.norm.{name}", lambda x: x[order])
            for name in PARAMETERS
        ),
    ]


def _no_joint(new: str, d: int) -> list[Rule]:
    """Return constants for the network of the selection weights of a single variable, whose weight is 1 in any case."""
    shapes: dict[str, tuple[int, ...]] = {
        "joint.from_input.weight": (d, d),
        "joint.from_input.bias": (d,),
        "joint.from_context.weight": (d, d),
        "joint.hidden.weight": (d, d),
        "joint.hidden.bias": (d,),
        "joint.gate.projection.weight": (2, d),
        "joint.gate.projection.bias": (2,),
        "joint.skip.weight": (1, d),
        **dict.fromkeys(("joint.skip.bias", "joint.norm.weight", "joint.norm.bias"), (1,)),
        **dict.fromkeys(("skip_norm.weight", "skip_norm.bias"), (1,)),
    }
    return [constant(f"{new}.{name}", torch.zeros(shape)) for name, shape in shapes.items()]
