"""Variable selection of pytorch-forecasting: narrow embeddings, stretched by interpolation where they go around.

Every variable there has an embedding of its own width, mostly less than d. Here it is filled up with zeros, so that
linear maps of it keep their numbers; the interpolation, being linear too, goes into the linear map of the skip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.interop.rules import Rule, constant

KINDS = ("weight", "bias")
GATE, NORM = "gate_norm.glu.fc", "gate_norm.add_norm.norm"


@dataclass(frozen=True)
class Variable:
    """One input of a selection."""

    name: str
    width: int  # of its embedding
    has_network: bool  # a gated residual network; else it is only resampled and normalised


def pad(x: Tensor, *shape: int) -> Tensor:
    """Fill a tensor up with zeros at the ends of its dimensions."""
    grown = x.new_zeros(shape)
    grown[tuple(slice(size) for size in x.shape)] = x
    return grown


def interpolation(old: int, new: int) -> Tensor:
    """Give the matrix ``[new, old]`` of a linear interpolation that keeps both ends."""
    unit = torch.eye(old, dtype=torch.float64).unsqueeze(1)
    stretched: Tensor = functional.interpolate(unit, new, mode="linear", align_corners=True)
    return stretched.squeeze(1).T


def trainable_gain(mask: Tensor) -> Tensor:
    """Give the factors that stand before the norm of what goes around, 1 where training has not moved them."""
    return 2 * torch.sigmoid(mask)


def selection(
    new: str, old: str, variables: Sequence[Variable], order: list[int], d: int, *, num_reals: int, normalised: bool
) -> list[Rule]:
    """Take a variable selection.

    Parameters
    ----------
    new, old
        Names before the dot.
    variables
        In their order there.
    order
        Where in that order each variable of this network's order stands.
    d
        Hidden size.
    num_reals
        Reals among the variables, first in this network's order.
    normalised
        Whether what goes around a real's own network is layer-normed.
    """
    placed = [variables[place] for place in order]
    rules = _joint(new, old, variables, order, d) if len(variables) > 1 else _no_joint(new, d)
    rules += _variables(f"{new}.variables", f"{old}.single_variable_grns", placed, d)
    if old == "static_variable_selection":
        rules = [rule for rule in rules if rule.target != f"{new}.joint.from_context.weight"]
    if normalised and num_reals:
        rules += [
            _stack(
                f"{new}.variables.skip_norm.{kind}",
                [f"{old}.single_variable_grns.{v.name}.resample_norm.norm.{kind}" for v in placed[:num_reals]],
                (d,),
            )
            for kind in KINDS
        ]
    return rules


def _stack(new: str, old: Sequence[str | None], shape: tuple[int, ...]) -> Rule:
    """Pad tensors of single variables and put them on top of each other; None is a tensor of zeros."""

    def make(*tensors: Tensor) -> Tensor:
        there = iter(tensors)
        return torch.stack([torch.zeros(shape).double() if name is None else pad(next(there), *shape) for name in old])

    return Rule(new, tuple(name for name in old if name is not None), make)


def _variables(new: str, old: str, placed: Sequence[Variable], d: int) -> list[Rule]:
    """Take the variables' own networks. A variable without one has a gate here that lets nothing pass."""

    def names(part: str) -> list[str | None]:
        return [f"{old}.{v.name}.{part}" if v.has_network else None for v in placed]

    norms = [f"{old}.{v.name}.{NORM if v.has_network else 'norm'}" for v in placed]
    return [
        _stack(f"{new}.from_input.weight", names("fc1.weight"), (d, d)),
        _stack(f"{new}.from_input.bias", names("fc1.bias"), (d,)),
        _stack(f"{new}.hidden.weight", names("fc2.weight"), (d, d)),
        _stack(f"{new}.hidden.bias", names("fc2.bias"), (d,)),
        _stack(f"{new}.gate.weight", names(f"{GATE}.weight"), (2 * d, d)),
        _stack(f"{new}.gate.bias", names(f"{GATE}.bias"), (2 * d,)),
        *(_stack(f"{new}.norm.{kind}", [f"{name}.{kind}" for name in norms], (d,)) for kind in KINDS),
        _skips(f"{new}.skip_weight", old, placed, d),
    ]


def _skips(new: str, old: str, placed: Sequence[Variable], d: int) -> Rule:
    """Make what goes around each variable's network: interpolation times the trainable gain, or nothing but it."""
    masks = {
        v.name: f"{old}.{v.name}.resample_norm.mask" if v.has_network else f"{old}.{v.name}.mask"
        for v in placed
        if v.width != d or not v.has_network
    }

    def make(*tensors: Tensor) -> Tensor:
        gains = dict(zip(masks, tensors, strict=True))
        maps = []
        for v in placed:
            stretch = interpolation(v.width, d)
            if v.name in gains:
                stretch = trainable_gain(gains[v.name]).unsqueeze(1) * stretch
            maps.append(pad(stretch, d, d))
        return torch.stack(maps)

    return Rule(new, tuple(masks.values()), make)


def _joint(new: str, old: str, variables: Sequence[Variable], order: list[int], d: int) -> list[Rule]:
    """Take the network that gives the selection weights; its inner width is min(d, V) there."""
    V, joint = len(variables), f"{old}.flattened_grn"
    widths = [v.width for v in variables]

    def columns(weight: Tensor) -> Tensor:  # [rows, sum of widths] -> [rows, V * d], in this network's order
        blocks = weight.split(widths, dim=1)
        return torch.cat([pad(blocks[place], len(weight), d) for place in order], dim=1)

    def halves(x: Tensor) -> Tensor:  # values of all variables first, then their gates
        return x.view(2, V, *x.shape[1:])[:, order].reshape(2 * V, *x.shape[1:])

    return [
        Rule(f"{new}.joint.from_input.weight", (f"{joint}.fc1.weight",), lambda x: pad(columns(x), d, V * d)),
        Rule(f"{new}.joint.from_input.bias", (f"{joint}.fc1.bias",), lambda x: pad(x, d)),
        Rule(f"{new}.joint.from_context.weight", (f"{joint}.context.weight",), lambda x: pad(x, d, d)),
        Rule(f"{new}.joint.hidden.weight", (f"{joint}.fc2.weight",), lambda x: pad(x, d, d)),
        Rule(f"{new}.joint.hidden.bias", (f"{joint}.fc2.bias",), lambda x: pad(x, d)),
        Rule(f"{new}.joint.gate.projection.weight", (f"{joint}.{GATE}.weight",), lambda x: pad(halves(x), 2 * V, d)),
        Rule(f"{new}.joint.gate.projection.bias", (f"{joint}.{GATE}.bias",), halves),
        *(Rule(f"{new}.joint.norm.{kind}", (f"{joint}.{NORM}.{kind}",), lambda x: x[order]) for kind in KINDS),
        Rule(
            f"{new}.joint.skip.weight",
            (f"{joint}.resample_norm.mask",),
            lambda mask: columns(trainable_gain(mask).unsqueeze(1) * interpolation(sum(widths), V))[order],
        ),
        constant(f"{new}.joint.skip.bias", torch.zeros(V)),
        *(
            Rule(f"{new}.skip_norm.{kind}", (f"{joint}.resample_norm.norm.{kind}",), lambda x: x[order])
            for kind in KINDS
        ),
    ]


def _no_joint(new: str, d: int) -> list[Rule]:
    """Fill in the network that gives the weight of a single variable: there is none there, and the weight is 1."""
    shapes = {
        "joint.from_input.weight": (d, d),
        "joint.from_input.bias": (d,),
        "joint.from_context.weight": (d, d),
        "joint.hidden.weight": (d, d),
        "joint.hidden.bias": (d,),
        "joint.gate.projection.weight": (2, d),
        "joint.gate.projection.bias": (2,),
        "joint.skip.weight": (1, d),
        "joint.skip.bias": (1,),
        "joint.norm.weight": (1,),
        "joint.norm.bias": (1,),
        "skip_norm.weight": (1,),
        "skip_norm.bias": (1,),
    }
    return [constant(f"{new}.{name}", torch.zeros(shape)) for name, shape in shapes.items()]
