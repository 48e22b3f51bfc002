"""Rules for the blocks that all implementations have, under their own names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fusecast.migrate.plan import Rule

BlockNames = Mapping[str, str]
"""This network's names of the parts of a gated residual network, and the old ones."""


def linear(new: str, old: str, *, bias: bool = True) -> list[Rule]:
    """Take a linear map, or a layer norm: the same tensors under another name."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return [Rule(f"{new}.{kind}", (f"{old}.{kind}",), torch.clone) for kind in kinds]


def gated_residual_network(new: str, old: str, names: BlockNames, *, has_context: bool = False) -> list[Rule]:
    """Take a gated residual network from d to d."""
    rules = []
    for part, name in names.items():
        if part == "from_context":
            rules += linear(f"{new}.{part}", f"{old}.{name}", bias=False) if has_context else []
        else:
            rules += linear(f"{new}.{part}", f"{old}.{name}")
    return rules


def lstm(new: str, old: str, layers: int) -> list[Rule]:
    """Take an LSTM of torch; the gates have one order everywhere."""
    return [
        Rule(f"{new}.{kind}_l{layer}", (f"{old}.{kind}_l{layer}",), torch.clone)
        for layer in range(layers)
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def stacked(new: str, old: list[str]) -> Rule:
    """Put tensors of single variables on top of each other: one row a variable."""
    return Rule(new, tuple(old), lambda *tensors: torch.stack(tensors))


def joined(new: str, old: list[str], width: int) -> Rule:
    """Put tables end to end; ``[0, width]`` where there are none."""
    return Rule(new, tuple(old), lambda *tables: torch.cat(tables) if tables else torch.zeros(0, width))


def constant(new: str, value: Tensor) -> Rule:
    """Fill in what plays no part in the result."""
    return Rule(new, (), value.clone)
