"""Rules that say how each parameter of this network is computed from the tensors of another implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fusecast.interop.state_dict import Weights
from fusecast.training.resumable_module import ResumableModule

Status = Literal["matched", "unused", "missing", "unexpected", "wrong shape"]


@dataclass(frozen=True)
class Rule:
    """How one tensor of the network is made. Without sources it is a constant, for what plays no part."""

    target: str
    sources: tuple[str, ...]
    make: Callable[..., Tensor]  # of the sources, in their order


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an importer makes of an old file, before any tensor is touched."""

    build: Callable[[], ResumableModule]
    """Makes what is to be filled: the network in its LightningModule. Names in `rules` are those of its state dict,
    with or without ``network.``."""
    rules: Sequence[Rule]
    unused: Mapping[str, str] = field(default_factory=dict)
    """Old tensors that play no part in the old forward pass, and why."""
    notes: tuple[str, ...] = ()
    """What was assumed, and what the user should know."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a tensor of the network, or an old one that has no place there."""

    status: Status
    name: str
    made_of: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Matching:
    """How the old tensors fit the network."""

    rows: tuple[Row, ...]

    def count(self, status: Status) -> int:
        """Number of rows of a status."""
        return sum(row.status == status for row in self.rows)

    def names(self, status: Status) -> list[str]:
        """Names of the rows of a status."""
        return [row.name for row in self.rows if row.status == status]

    @property
    def complete(self) -> bool:
        """Whether every tensor found its place, and every place its tensor."""
        return all(row.status in ("matched", "unused") for row in self.rows)


def carry_out(plan: Plan, weights: Weights) -> tuple[ResumableModule, Matching]:
    """Make the network and fill it; what cannot be filled keeps its fresh values, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = plan.build()
    state = module.state_dict()
    rows: list[Row] = []
    used = set(plan.unused)
    for rule in plan.rules:
        used.update(rule.sources)
        target = rule.target if rule.target in state else f"network.{rule.target}"
        row, made = _fill(rule, weights, state[target].shape)
        rows.append(row)
        if made is not None:
            state[target] = made.to(torch.float32).contiguous()
    rows += [Row("unused", name, detail=why) for name, why in plan.unused.items() if name in weights.tensors]
    rows += [
        Row("unexpected", name, detail=_shape(tensor.shape))
        for name, tensor in weights.tensors.items()
        if name not in used
    ]
    rows += [Row("unexpected", name, detail="no tensor") for name in weights.others]
    module.load_state_dict(state)
    return module.eval(), Matching(tuple(rows))


def _fill(rule: Rule, weights: Weights, expected: torch.Size) -> tuple[Row, Tensor | None]:
    made_of = rule.sources
    absent = [name for name in rule.sources if name not in weights.tensors]
    if absent:
        return Row("missing", rule.target, made_of, f"no {', '.join(absent)}"), None
    sources = [weights.tensors[name].double() for name in rule.sources]  # products are made in double precision
    try:
        made = rule.make(*sources)
    except (RuntimeError, IndexError) as error:  # shapes that do not go together
        return Row("wrong shape", rule.target, made_of, str(error).splitlines()[0]), None
    if made.shape != expected:
        return Row("wrong shape", rule.target, made_of, f"{_shape(made.shape)}, not {_shape(expected)}"), None
    return Row("matched", rule.target, made_of, _shape(expected)), made


def _shape(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "scalar"


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
