"""The TFT of pytorch-forecasting (version 1.8.0).

docs/migrate.md lists its names and all differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusecast.errors import ArtifactError
from fusecast.interop.config_inference import infer_config, infer_quantiles, module_builder
from fusecast.interop.pytorch_forecasting_selection import Variable, convert_selection, pad
from fusecast.interop.rules import PARAMETERS, Plan, Rule, concatenate, copy_grn, copy_linear, copy_lstm
from fusecast.interop.state_dict import Weights
from fusecast.model.config import ModelConfig

MARKER_TENSOR = "lstm_encoder.weight_ih_l0"
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
TABLE = "input_embeddings.embeddings."
SIZES = {
    "lookback": "max_encoder_length",
    "horizon": "max_prediction_length",
    "quantiles": "quantiles",
    "dropout": "dropout",
}
"""Old names of the sizes among the hyper-parameters, by the new ones."""
SELECTIONS = (
    ("static", "static.select", "static_variable_selection", "static_categoricals", "static_reals"),
    (
        *("past", "select_past", "encoder_variable_selection"),
        *("time_varying_categoricals_encoder", "time_varying_reals_encoder"),
    ),
    (
        *("future", "select_future", "decoder_variable_selection"),
        *("time_varying_categoricals_decoder", "time_varying_reals_decoder"),
    ),
)
"""Group, new and old name of each variable selection, and the hyper-parameters that list its categories and reals."""

# Old names, by the new ones
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
DUPLICATES = {
    "post_lstm_gate_decoder.": "post_lstm_gate_encoder.",
    "post_lstm_add_norm_decoder.": "post_lstm_add_norm_encoder.",
    "static_variable_selection.prescalers.": "prescalers.",
    "encoder_variable_selection.prescalers.": "prescalers.",
    "decoder_variable_selection.prescalers.": "prescalers.",
    "shared_single_variable_grns.": "encoder_variable_selection.single_variable_grns.",
}
"""Second names of modules, and their first names."""


def plan_conversion(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the conversion of a state dict of pytorch-forecasting's network.

    `config` is its ``hyper_parameters`` in plain values, and ``target``; it overrides those in the file, and the fields
    of `sizes` override both. Raises an ArtifactError with the reason where its forecasts cannot be reproduced here.
    """
    described = {**weights.parameters, **config}
    needed = [name for _, _, _, *lists in SELECTIONS for name in lists]
    absent = [name for name in (*needed, "target") if described.get(name) is None]
    if absent:
        raise ArtifactError.hyper_parameters_needed(weights.path, absent)
    variables = group_variables(weights.path, described)
    d = weights.size("pre_output_gate_norm.add_norm.norm.weight")
    widths = {name: weights.size(f"{TABLE}{name}.weight", 1) for name in variables.categories}
    widths |= {name: weights.size(f"prescalers.{name}.weight") for name in variables.reals}
    shared = bool(described.get("share_single_variable_networks"))
    normalised = check_widths(weights.path, variables, widths, d, shared=shared)
    given = {new: described[old] for new, old in SIZES.items() if described.get(old) is not None} | dict(sizes)
    inferred, notes = _infer_sizes(weights, variables, given, d)
    inferred["variable_skip"] = "normalised" if normalised else "linear"
    inferred["attention_mask"] = "strict" if described.get("causal_attention", True) else "none"
    model_config = infer_config(weights, inferred, given)
    rules = _build_rules(weights, model_config, variables)
    for group, new, old, categories, reals in SELECTIONS:
        ordered = [
            *(Variable(name, widths[name], has_network=shared and group != "static") for name in described[categories]),
            *(Variable(name, widths[name], has_network=True) for name in described[reals]),
        ]
        if ordered:
            old_names = [variable.name for variable in ordered]
            order = [old_names.index(name) for name in variables.group(group)]
            skip_norm = model_config.variable_skip == "normalised"
            rules += convert_selection(
                new, old, ordered, order, d, num_reals=len(described[reals]), normalised=skip_norm
            )
    unused = _find_duplicates(weights)
    return Plan(build=module_builder(model_config), rules=rules, unused=unused, notes=tuple(notes))


@dataclass(frozen=True)
class VariableGroups:
    """Names of the variables by group, in the order of this network."""

    targets: tuple[str, ...]
    observed: tuple[str, ...]  # the targets first
    known: tuple[str, ...]
    observed_categories: tuple[str, ...]
    known_categories: tuple[str, ...]
    static: tuple[str, ...]
    static_categories: tuple[str, ...]

    def group(self, group: str) -> tuple[str, ...]:
        """Return the variables of the static, past or future group."""
        if group == "static":
            return (*self.static, *self.static_categories)
        if group == "future":
            return (*self.known, *self.known_categories)
        return (*self.observed, *self.known, *self.observed_categories, *self.known_categories)

    @property
    def reals(self) -> tuple[str, ...]:
        """All reals, static ones first."""
        return (*self.static, *self.observed, *self.known)

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, static ones first."""
        return (*self.static_categories, *self.observed_categories, *self.known_categories)


def group_variables(path: Path, described: Mapping[str, Any]) -> VariableGroups:
    """Return the variables by group; raise an ArtifactError for those that this network cannot have."""
    refuse = ArtifactError.cannot_reproduce
    past_reals, past_categories, known, known_categories = (
        tuple(described[f"time_varying_{kind}_{part}"])
        for part in ("encoder", "decoder")
        for kind in ("reals", "categoricals")
    )
    target = described["target"]
    targets = (target,) if isinstance(target, str) else tuple(target)
    if described.get("categorical_groups"):
        raise refuse(path, "it sums groups of categories into one embedding (categorical_groups)")
    not_observed = [name for name in targets if name not in past_reals]
    if not_observed:
        raise refuse(path, f"the target {not_observed[0]!r} is no real input of its encoder")
    only_future = [name for name in known if name not in past_reals]
    only_future += [name for name in known_categories if name not in past_categories]
    if only_future:
        raise refuse(path, f"known variable {only_future[0]!r} is an input of its decoder, not of its encoder")
    return VariableGroups(
        targets=targets,
        observed=targets + tuple(name for name in past_reals if name not in known and name not in targets),
        known=known,
        observed_categories=tuple(name for name in past_categories if name not in known_categories),
        known_categories=known_categories,
        static=tuple(described["static_reals"]),
        static_categories=tuple(described["static_categoricals"]),
    )


def check_widths(path: Path, variables: VariableGroups, widths: Mapping[str, int], d: int, *, shared: bool) -> bool:
    """Return whether the residuals of the reals' networks are interpolated and normalised.

    Raises an ArtifactError for embeddings of widths that this network cannot reproduce.
    """
    refuse = ArtifactError.cannot_reproduce
    wide = [name for name, width in widths.items() if width > d]
    if wide:
        raise refuse(path, f"the embedding of {wide[0]!r} is wider than the hidden size {d}")
    interpolated = {widths[name] != d for name in variables.reals}
    if len(interpolated) > 1:
        raise refuse(path, f"hidden_continuous_sizes are the hidden size {d} for some reals, not for all")
    temporal_categories = variables.categories[len(variables.static_categories) :]
    narrow = [name for name in temporal_categories if shared and widths[name] != d]
    if narrow:
        raise refuse(
            path,
            f"category {narrow[0]!r} has a network of its own around an embedding narrower than the hidden size "
            "(share_single_variable_networks)",
        )
    groups = [variables.group(group) for group in ("static", "past", "future")]
    if any(len(group) > 1 and all(widths[name] == 1 for name in group) for group in groups):
        raise refuse(path, "all embeddings of a group have width 1, so that nothing is normalised around them")
    return True in interpolated


def _heads(weights: Weights) -> list[str]:
    """Return the names of the output layers: one, or one a target."""
    count = weights.count_numbered("output_layer.", ".weight")
    return [f"output_layer.{i}" for i in range(count)] or ["output_layer"]


def _infer_sizes(
    weights: Weights, variables: VariableGroups, given: Mapping[str, Any], d: int
) -> tuple[dict[str, Any], list[str]]:
    """Return the sizes that follow from shapes and variables, None where they are open; and notes."""
    outputs = {weights.size(f"{head}.weight") for head in _heads(weights)}
    if len(outputs) > 1:
        raise ArtifactError.cannot_reproduce(weights.path, "its targets have different numbers of outputs")
    levels, notes = infer_quantiles(outputs.pop(), QUANTILES, given, "pytorch-forecasting's")

    def cardinalities(names: Sequence[str]) -> list[int]:
        return [weights.size(f"{TABLE}{name}.weight") for name in names]

    sizes = {
        "num_targets": len(variables.targets),
        "quantiles": levels,
        "observed_reals": len(variables.observed),
        "observed_categories": cardinalities(variables.observed_categories),
        "known_reals": len(variables.known),
        "known_categories": cardinalities(variables.known_categories),
        "static_reals": len(variables.static),
        "static_categories": cardinalities(variables.static_categories),
        "hidden_size": d,
        "num_heads": weights.count_numbered("multihead_attn.q_layers.", ".weight"),
        "num_lstm_layers": weights.count_numbered("lstm_encoder.weight_ih_l"),
        "attention_bias": True,
        "selection_skip_norm": True,
        "contexts_without_static": not variables.group("static"),
    }
    for group in ("static", "past", "future"):
        notes.append(f"{group} inputs, in this order: {', '.join(variables.group(group)) or 'none'}")
    notes.append("forecasts are those before their output transformer, in the units of their scaled targets")
    return sizes, notes


def _build_rules(weights: Weights, config: ModelConfig, variables: VariableGroups) -> list[Rule]:
    """Return the rules for everything but the variable selections."""
    d, heads = config.hidden_size, _heads(weights)
    temporal = variables.observed + variables.known
    temporal_categories = variables.observed_categories + variables.known_categories
    rules = [
        *_convert_embedding("static.embedding", variables.static, variables.static_categories, d),
        *_convert_embedding("embedding", temporal, temporal_categories, d),
        *copy_lstm("recurrence.encoder", "lstm_encoder", config.num_lstm_layers),
        *copy_lstm("recurrence.decoder", "lstm_decoder", config.num_lstm_layers),
        *copy_linear("after_recurrence.gate.projection", "post_lstm_gate_encoder.fc"),
        *copy_linear("after_recurrence.norm", "post_lstm_add_norm_encoder.norm"),
        *copy_grn("enrich", "static_enrichment", GRN, has_context=True),
        *_convert_attention(config.num_heads),
        *copy_linear("after_attention.gate.projection", "post_attn_gate_norm.glu.fc"),
        *copy_linear("after_attention.norm", "post_attn_gate_norm.add_norm.norm"),
        *copy_grn("position_wise", "pos_wise_ff", GRN),
        *copy_linear("before_head.gate.projection", "pre_output_gate_norm.glu.fc"),
        *copy_linear("before_head.norm", "pre_output_gate_norm.add_norm.norm"),
        *(concatenate(f"head.projection.{name}", [f"{head}.{name}" for head in heads]) for name in PARAMETERS),
    ]
    for new, old in CONTEXTS.items():
        rules += copy_grn(f"static.contexts.{new}", old, GRN)
    return rules


def _convert_embedding(new: str, reals: Sequence[str], categories: Sequence[str], d: int) -> list[Rule]:
    """Return the rules for the embeddings of some variables, padded to the width d."""

    def stack_padded(*tensors: Tensor) -> Tensor:
        return torch.stack([pad(x.flatten(), d) for x in tensors]) if tensors else torch.zeros(0, d)

    def concatenate_padded(*tables: Tensor) -> Tensor:
        return torch.cat([torch.zeros(0, d), *(pad(table, len(table), d) for table in tables)])

    return [
        Rule(f"{new}.real_weight", tuple(f"prescalers.{name}.weight" for name in reals), stack_padded),
        Rule(f"{new}.real_bias", tuple(f"prescalers.{name}.bias" for name in reals), stack_padded),
        Rule(f"{new}.table", tuple(f"{TABLE}{name}.weight" for name in categories), concatenate_padded),
    ]


def _convert_attention(num_heads: int) -> list[Rule]:
    """Return the rules that put the heads' queries, and their keys, on top of each other."""
    rules = [
        *copy_linear("attention.value", "multihead_attn.v_layer"),
        *copy_linear("attention.output", "multihead_attn.w_h", bias=False),
    ]
    for new, old in (("query", "q_layers"), ("key", "k_layers")):
        rules += [
            concatenate(f"attention.{new}.{name}", [f"multihead_attn.{old}.{m}.{name}" for m in range(num_heads)])
            for name in PARAMETERS
        ]
    return rules


def _find_duplicates(weights: Weights) -> dict[str, str]:
    """Return the tensors with a second name, and why they are unused; raise an ArtifactError where the two differ."""
    unused = {}
    for name, tensor in weights.tensors.items():
        for second, first in DUPLICATES.items():
            if not name.startswith(second):
                continue
            original = first + name.removeprefix(second)
            if original in weights.tensors and not torch.equal(tensor, weights.tensors[original]):
                raise ArtifactError.cannot_reproduce(weights.path, f"{name} differs from {original}")
            unused[name] = f"the same as {original}"
    return unused
