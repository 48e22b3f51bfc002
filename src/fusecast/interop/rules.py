"""Rules for computing each parameter of this network from the tensors of another implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fusecast.interop.state_dict import Weights
from fusecast.training.resumable_module import ResumableModule

Status = Literal["matched", "unused", "missing", "unexpected", "wrong shape"]
PARAMETERS = ("weight", "bias")


@dataclass(frozen=True)
class Rule:
    """How one tensor of the network is computed from old ones. Without sources it is a constant without effect."""

    target: str
    sources: tuple[str, ...]
    compute: Callable[..., Tensor]  # from the sources, in their order


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The conversion of an old file, before any tensor is computed."""

    build: Callable[[], ResumableModule]
    """Builds the network to be filled, in its LightningModule. The targets of `rules` are names of its state dict, with
    or without ``network.``."""
    rules: Sequence[Rule]
    unused: Mapping[str, str] = field(default_factory=dict)
    """Old tensors without effect in the old forward pass, and why."""
    notes: tuple[str, ...] = ()
    """What was assumed, and what the user should know."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a tensor of the network, or an old one that corresponds to none."""

    status: Status
    name: str
    sources: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Matching:
    """How the old tensors match the network."""

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return f"Matching(rows={len(self.rows)}, complete={self.complete})"

    def count(self, status: Status) -> int:
        """Return the number of rows of a status."""
        return len(self.names(status))

    def names(self, status: Status) -> list[str]:
        """Return the names of the rows of a status."""
        return [row.name for row in self.rows if row.status == status]

    @property
    def complete(self) -> bool:
        """Whether every parameter has its sources, and every old tensor is used or known to have no effect."""
        return all(row.status in ("matched", "unused") for row in self.rows)


def apply_plan(plan: Plan, weights: Weights) -> tuple[ResumableModule, Matching]:
    """Build the network and fill it; what cannot be filled keeps its initial values, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = plan.build()
    state = module.state_dict()
    rows: list[Row] = []
    used = set(plan.unused)
    for rule in plan.rules:
        used.update(rule.sources)
        target = rule.target if rule.target in state else f"network.{rule.target}"
        row, tensor = _apply(rule, weights, state[target].shape)
        rows.append(row)
        if tensor is not None:
            state[target] = tensor.to(torch.float32).contiguous()
    rows += [Row("unused", name, detail=why) for name, why in plan.unused.items() if name in weights.tensors]
    rows += [
        Row("unexpected", name, detail=_format_shape(tensor.shape))
        for name, tensor in weights.tensors.items()
        if name not in used
    ]
    rows += [Row("unexpected", name, detail="no tensor") for name in weights.others]
    module.load_state_dict(state)
    return module.eval(), Matching(tuple(rows))


def _apply(rule: Rule, weights: Weights, expected: torch.Size) -> tuple[Row, Tensor | None]:
    absent = [name for name in rule.sources if name not in weights.tensors]
    if absent:
        return Row("missing", rule.target, rule.sources, f"no {', '.join(absent)}"), None
    try:  # products are computed in double precision
        tensor = rule.compute(*(weights.tensors[name].double() for name in rule.sources))
    except (RuntimeError, IndexError) as error:  # shapes that do not fit together
        return Row("wrong shape", rule.target, rule.sources, str(error).splitlines()[0]), None
    if tensor.shape != expected:
        detail = f"{_format_shape(tensor.shape)}, not {_format_shape(expected)}"
        return Row("wrong shape", rule.target, rule.sources, detail), None
    return Row("matched", rule.target, rule.sources, _format_shape(expected)), tensor


def _format_shape(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "scalar"


# Rules for blocks that several implementations have


def copy(new: str, old: str, compute: Callable[[Tensor], Tensor] = torch.clone) -> Rule:
    """Return the rule for one tensor that is computed from one."""
    return Rule(new, (old,), compute)


def copy_linear(new: str, old: str, *, bias: bool = True) -> list[Rule]:
    """Return the rules for a linear map, or a layer norm: the same tensors under another name."""
    return [copy(f"{new}.{name}", f"{old}.{name}") for name in (PARAMETERS if bias else PARAMETERS[:1])]


def copy_grn(new: str, old: str, names: Mapping[str, str], *, has_context: bool = False) -> list[Rule]:
    """Return the rules for a gated residual network from d to d; `names` are the old names of its parts."""
    rules = []
    for part, name in names.items():
        if part != "from_context" or has_context:
            rules += copy_linear(f"{new}.{part}", f"{old}.{name}", bias=part != "from_context")
    return rules


def copy_lstm(new: str, old: str, layers: int) -> list[Rule]:
    """Return the rules for an LSTM of torch, whose gates have the same order everywhere."""
    return [
        copy(f"{new}.{name}_l{layer}", f"{old}.{name}_l{layer}")
        for layer in range(layers)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def stack(new: str, old: Sequence[str]) -> Rule:
    """Return the rule that stacks tensors of single variables: one row a variable."""
    return Rule(new, tuple(old), lambda *tensors: torch.stack(tensors))


def concatenate(new: str, old: Sequence[str], width: int = 0) -> Rule:
    """Return the rule that concatenates tables; ``[0, width]`` where there are none."""
    return Rule(new, tuple(old), lambda *tables: torch.cat(tables) if tables else torch.zeros(0, width))


def constant(new: str, value: Tensor) -> Rule:
    """Return the rule for a parameter without effect on the result."""
    return Rule(new, (), value.clone)
