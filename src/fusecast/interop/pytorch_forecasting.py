"""Weights of pytorch-forecasting's TFT (written against version 1.8.0).

The name map and every difference between the networks are described in docs/migrate.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fusecast.errors import ArtifactError
from fusecast.interop.config_inference import config_of, levels_of, module_of
from fusecast.interop.pytorch_forecasting_selection import Variable, pad, selection
from fusecast.interop.rules import Plan, Rule, gated_residual_network, joined, linear, lstm
from fusecast.interop.state_dict import Weights
from fusecast.model.config import ModelConfig

LISTS = (
    "static_categoricals",
    "static_reals",
    "time_varying_categoricals_encoder",
    "time_varying_categoricals_decoder",
    "time_varying_reals_encoder",
    "time_varying_reals_decoder",
)


@dataclass(frozen=True)
class Names:
    """Variables by group, in this network's order."""

    targets: tuple[str, ...]
    observed: tuple[str, ...]  # the targets first
    known: tuple[str, ...]
    observed_categories: tuple[str, ...]
    known_categories: tuple[str, ...]
    static: tuple[str, ...]
    static_categories: tuple[str, ...]

    def group(self, group: str) -> tuple[str, ...]:
        """Give the variables of the static, past or future group."""
        known = (self.known, self.known_categories)
        if group == "static":
            return (*self.static, *self.static_categories)
        if group == "future":
            return (*known[0], *known[1])
        return (*self.observed, *known[0], *self.observed_categories, *known[1])

    @property
    def reals(self) -> tuple[str, ...]:
        """All reals, static ones first."""
        return (*self.static, *self.observed, *self.known)

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, static ones first."""
        return (*self.static_categories, *self.observed_categories, *self.known_categories)


def names_of(path: Path, theirs: Mapping[str, Any]) -> Names:
    """Sort the variables into groups; refuse what this network cannot be given."""
    refuse = ArtifactError.cannot_reproduce
    encoder, decoder = (
        [(*theirs[f"time_varying_{kind}_{part}"],) for kind in ("reals", "categoricals")]
        for part in ("encoder", "decoder")
    )
    target = theirs["target"]
    targets = (target,) if isinstance(target, str) else tuple(target)
    if theirs.get("categorical_groups"):
        raise refuse(path, "it sums groups of categories into one embedding (categorical_groups)")
    not_observed = [name for name in targets if name not in encoder[0]]
    if not_observed:
        raise refuse(path, f"the target {not_observed[0]!r} is no real input of its encoder")
    only_future = [name for seen, ahead in zip(encoder, decoder, strict=True) for name in ahead if name not in seen]
    if only_future:
        raise refuse(path, f"known variable {only_future[0]!r} is an input of its decoder, not of its encoder")
    observed = tuple(name for name in encoder[0] if name not in decoder[0] and name not in targets)
    return Names(
        targets=targets,
        observed=targets + observed,
        known=decoder[0],
        observed_categories=tuple(name for name in encoder[1] if name not in decoder[1]),
        known_categories=decoder[1],
        static=tuple(theirs["static_reals"]),
        static_categories=tuple(theirs["static_categoricals"]),
    )


def check_widths(path: Path, names: Names, widths: Mapping[str, int], d: int, *, shared: bool) -> bool:
    """Say whether what goes around the reals' networks is resampled and normalised; refuse what has no switch."""
    refuse = ArtifactError.cannot_reproduce
    wide = [name for name, width in widths.items() if width > d]
    if wide:
        raise refuse(path, f"the embedding of {wide[0]!r} is wider than the hidden size {d}")
    resampled = {widths[name] != d for name in names.reals}
    if len(resampled) > 1:
        raise refuse(path, f"hidden_continuous_sizes are the hidden size {d} for some reals, not for all")
    stretched = [name for name in names.categories[len(names.static_categories) :] if shared and widths[name] != d]
    if stretched:
        raise refuse(
            path,
            f"category {stretched[0]!r} has a network of its own around an embedding narrower than the hidden size "
            "(share_single_variable_networks)",
        )
    groups = [names.group(group) for group in ("static", "past", "future")]
    if any(len(group) > 1 and all(widths[name] == 1 for name in group) for group in groups):
        raise refuse(path, "all embeddings of a group have width 1, so that nothing is normalised around them")
    return True in resampled


LANDMARK = "lstm_encoder.weight_ih_l0"
"""A tensor that every file of this kind holds, and no other."""

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
TABLE = "input_embeddings.embeddings."

GRN = {
    "from_input": "fc1",
    "from_context": "context",
    "hidden": "fc2",
    "gate.projection": "gate_norm.glu.fc",
    "norm": "gate_norm.add_norm.norm",
}
CONTEXTS = {
    "selection": "static_context_variable_selection",
    "enrichment": "static_context_enrichment",
    "hidden": "static_context_initial_hidden_lstm",
    "cell": "static_context_initial_cell_lstm",
}
AGAIN = {  # modules that stand under two names there
    "post_lstm_gate_decoder.": "post_lstm_gate_encoder.",
    "post_lstm_add_norm_decoder.": "post_lstm_add_norm_encoder.",
    "static_variable_selection.prescalers.": "prescalers.",
    "encoder_variable_selection.prescalers.": "prescalers.",
    "decoder_variable_selection.prescalers.": "prescalers.",
    "shared_single_variable_grns.": "encoder_variable_selection.single_variable_grns.",
}


def plan(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the import of a state dict of pytorch-forecasting's network.

    Parameters
    ----------
    weights
        The exported file.
    config
        Its ``hyper_parameters`` in plain values, and ``target``; where not given, those in the file.
    sizes
        Fields of the ModelConfig; they go before all else.

    Raises
    ------
    ArtifactError
        When it cannot be reproduced here, with the reason.
    ConfigError
        When a size is said by nobody.
    """
    theirs = {**weights.parameters, **config}
    absent = [name for name in (*LISTS, "target") if theirs.get(name) is None]
    if absent:
        raise ArtifactError.hyper_parameters_needed(weights.path, absent)
    names = names_of(weights.path, theirs)
    d = weights.size("pre_output_gate_norm.add_norm.norm.weight")
    widths = {name: weights.size(f"{TABLE}{name}.weight", 1) for name in names.categories}
    widths |= {name: weights.size(f"prescalers.{name}.weight") for name in names.reals}
    normalised = check_widths(weights.path, names, widths, d, shared=bool(theirs.get("share_single_variable_networks")))
    given = _sizes_of(theirs) | dict(sizes)
    found, notes = _infer(weights, names, given, d)
    found |= {"variable_skip": "normalised" if normalised else "linear"}
    found |= {"attention_mask": "strict" if theirs.get("causal_attention", True) else "none"}
    model_config = config_of(weights, found, given)
    rules = _rules(weights, model_config, names, widths, theirs)
    return Plan(build=module_of(model_config), rules=rules, unused=_same_again(weights), notes=tuple(notes))


def _sizes_of(theirs: Mapping[str, Any]) -> dict[str, Any]:
    named = {"lookback": "max_encoder_length", "horizon": "max_prediction_length"}
    named |= {"quantiles": "quantiles", "dropout": "dropout"}
    return {ours: theirs[name] for ours, name in named.items() if theirs.get(name) is not None}


def _heads(weights: Weights) -> list[str]:
    several = weights.numbered("output_layer.", ".weight")
    return [f"output_layer.{number}" for number in range(several)] or ["output_layer"]


def _infer(weights: Weights, names: Names, given: Mapping[str, Any], d: int) -> tuple[dict[str, Any], list[str]]:
    heads = {weights.size(f"{head}.weight") for head in _heads(weights)}
    if len(heads) > 1:
        raise ArtifactError.cannot_reproduce(weights.path, "its targets have different numbers of outputs")
    levels, notes = levels_of(heads.pop(), QUANTILES, given, "pytorch-forecasting's")
    cardinalities = {name: weights.size(f"{TABLE}{name}.weight") for name in names.categories}
    found = {
        "num_targets": len(names.targets),
        "quantiles": levels,
        "observed_reals": len(names.observed),
        "observed_categories": [cardinalities[name] for name in names.observed_categories],
        "known_reals": len(names.known),
        "known_categories": [cardinalities[name] for name in names.known_categories],
        "static_reals": len(names.static),
        "static_categories": [cardinalities[name] for name in names.static_categories],
        "hidden_size": d,
        "num_heads": weights.numbered("multihead_attn.q_layers.", ".weight"),
        "num_lstm_layers": weights.numbered("lstm_encoder.weight_ih_l"),
        "attention_bias": True,
        "selection_skip_norm": True,
        "contexts_without_static": not names.static and not names.static_categories,
    }
    for group in ("static", "past", "future"):
        notes.append(f"{group} inputs, in this order: {', '.join(names.group(group)) or 'none'}")
    notes.append("forecasts are those before their output transformer, in the units of their scaled targets")
    return found, notes


def _rules(
    weights: Weights, config: ModelConfig, names: Names, widths: Mapping[str, int], theirs: Mapping[str, Any]
) -> list[Rule]:
    d = config.hidden_size
    rules = [
        *_embedding("static.embedding", names.static, names.static_categories, d),
        *_embedding("embedding", names.observed + names.known, names.observed_categories + names.known_categories, d),
        *lstm("recurrence.encoder", "lstm_encoder", config.num_lstm_layers),
        *lstm("recurrence.decoder", "lstm_decoder", config.num_lstm_layers),
        *linear("after_recurrence.gate.projection", "post_lstm_gate_encoder.fc"),
        *linear("after_recurrence.norm", "post_lstm_add_norm_encoder.norm"),
        *gated_residual_network("enrich", "static_enrichment", GRN, has_context=True),
        *_attention(config.num_heads),
        *linear("after_attention.gate.projection", "post_attn_gate_norm.glu.fc"),
        *linear("after_attention.norm", "post_attn_gate_norm.add_norm.norm"),
        *gated_residual_network("position_wise", "pos_wise_ff", GRN),
        *linear("before_head.gate.projection", "pre_output_gate_norm.glu.fc"),
        *linear("before_head.norm", "pre_output_gate_norm.add_norm.norm"),
        *(
            Rule(
                f"head.projection.{kind}",
                tuple(f"{head}.{kind}" for head in _heads(weights)),
                lambda *parts: torch.cat(parts),
            )
            for kind in ("weight", "bias")
        ),
    ]
    for name, old in CONTEXTS.items():
        rules += gated_residual_network(f"static.contexts.{name}", old, GRN)
    shared = bool(theirs.get("share_single_variable_networks"))
    groups = (
        ("static", "static.select", "static_variable_selection", "static_categoricals", "static_reals"),
        ("past", "select_past", "encoder_variable_selection", LISTS[2], LISTS[4]),
        ("future", "select_future", "decoder_variable_selection", LISTS[3], LISTS[5]),
    )
    for group, new, old, categories, reals in groups:
        theirs_in_order = [
            *(Variable(name, widths[name], has_network=shared and group != "static") for name in theirs[categories]),
            *(Variable(name, widths[name], has_network=True) for name in theirs[reals]),
        ]
        if theirs_in_order:
            stands = [variable.name for variable in theirs_in_order]
            order = [stands.index(name) for name in names.group(group)]
            rules += selection(
                new, old, theirs_in_order, order, d,
                num_reals=len(theirs[reals]), normalised=config.variable_skip == "normalised",
            )  # fmt: skip
    return rules


def _embedding(new: str, reals: Sequence[str], categories: Sequence[str], d: int) -> list[Rule]:
    def lines(kind: str) -> Rule:
        sources = tuple(f"prescalers.{name}.{kind}" for name in reals)
        return Rule(f"{new}.real_{kind}", sources, lambda *parts: _stacked([pad(x.flatten(), d) for x in parts], d))

    tables = Rule(
        f"{new}.table",
        tuple(f"{TABLE}{name}.weight" for name in categories),
        lambda *parts: torch.cat([torch.zeros(0, d), *(pad(x, len(x), d) for x in parts)]),
    )
    return [lines("weight"), lines("bias"), tables]


def _stacked(rows: list[torch.Tensor], d: int) -> torch.Tensor:
    return torch.stack(rows) if rows else torch.zeros(0, d)


def _attention(num_heads: int) -> list[Rule]:
    """Put the heads' queries, and their keys, on top of each other."""
    rules = [
        *linear("attention.value", "multihead_attn.v_layer"),
        *linear("attention.output", "multihead_attn.w_h", bias=False),
    ]
    for name, old in (("query", "q_layers"), ("key", "k_layers")):
        rules += [
            joined(f"attention.{name}.{kind}", [f"multihead_attn.{old}.{m}.{kind}" for m in range(num_heads)], 0)
            for kind in ("weight", "bias")
        ]
    return rules


def _same_again(weights: Weights) -> dict[str, str]:
    """Find the tensors that stand under a second name; refuse a file where the two differ."""
    unused = {}
    for name, tensor in weights.tensors.items():
        for again, first in AGAIN.items():
            if not name.startswith(again):
                continue
            original = first + name.removeprefix(again)
            if original in weights.tensors and not torch.equal(tensor, weights.tensors[original]):
                raise ArtifactError.cannot_reproduce(weights.path, f"{name} differs from {original}")
            unused[name] = f"the same as {original}"
    return unused
