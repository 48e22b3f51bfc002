"""The TFT of NVIDIA's DeepLearningExamples: the same mathematics but for one epsilon, in another order.

docs/migrate.md lists its names and all differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from fusecast.errors import ArtifactError
from fusecast.interop.config_inference import infer_config, infer_quantiles, module_builder
from fusecast.interop.rules import (
    PARAMETERS,
    Plan,
    Rule,
    concatenate,
    constant,
    copy,
    copy_grn,
    copy_linear,
    copy_lstm,
    stack,
)
from fusecast.interop.state_dict import Weights
from fusecast.model.config import ModelConfig

MARKER_TENSOR = "history_encoder.weight_ih_l0"
LAYER_NORM_EPS = 1e-3
QUANTILES = (0.1, 0.5, 0.9)

# Old names, by the new ones
GRN = {
    "from_input": "lin_a",
    "from_context": "lin_c",
    "hidden": "lin_i",
    "gate.projection": "glu.lin",
    "norm": "layer_norm.ln",
}
VARIABLE_GRN = {"from_input": "lin_a", "hidden": "lin_i", "gate": "glu.lin", "norm": "layer_norm.ln"}
CONTEXTS = ("selection", "enrichment", "hidden", "cell")
"""The static contexts in their old order."""

# Old names of embeddings, by the old names of groups: s(tatic), t_tgt (targets), t_o(bserved), t_k(nown)
REALS = {
    "s": "embedding.s_cont_embedding",
    "t_tgt": "embedding.t_tgt_embedding",
    "t_o": "embedding.t_cont_o_embedding",
    "t_k": "embedding.t_cont_k_embedding",
}
TABLES = {"s": "embedding.s_cat_embed.", "t_o": "embedding.t_cat_o_embed.", "t_k": "embedding.t_cat_k_embed."}
UNUSED = {
    "attention._mask": "a constant: the causal mask",
    "static_encoder.vsn.joint_grn.lin_c.weight": "never used there: the static selection has no context",
}


def plan_conversion(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the conversion of a state dict of NVIDIA's network.

    `config` is their configuration in plain values, of which ``encoder_length``, ``example_length``, ``quantiles`` and
    ``dropout`` are used; the fields of `sizes` override it.
    """
    given = _described_sizes(config) | dict(sizes)
    if not weights.count_numbered("static_encoder.vsn.var_grns.", ".lin_a.weight"):
        raise ArtifactError.lacks_tensor(weights.path, "static_encoder.vsn.var_grns.0.lin_a.weight")
    inferred, notes = _infer_sizes(weights, given)
    model_config = infer_config(weights, inferred, given)
    d, (targets, _) = model_config.hidden_size, _group_sizes(weights, "t_tgt")
    static, past, future = _variable_orders(model_config, targets)
    rules = [
        *_convert_embedding("static.embedding", weights, ["s"], d),
        *_convert_embedding("embedding", weights, ["t_tgt", "t_o", "t_k"], d),
        *_convert_selection("static.select", "static_encoder.vsn", static, d, has_context=False),
        *_convert_selection("select_past", "history_vsn", past, d, has_context=True),
        *copy_lstm("recurrence.encoder", "history_encoder", 1),
        *copy_lstm("recurrence.decoder", "future_encoder", 1),
        *copy_linear("after_recurrence.gate.projection", "input_gate.lin"),
        *copy_linear("after_recurrence.norm", "input_gate_ln"),
        *copy_grn("enrich", "enrichment_grn", GRN, has_context=True),
        *_convert_attention(d, model_config.num_heads),
        *copy_linear("after_attention.gate.projection", "attention_gate.lin"),
        *copy_linear("after_attention.norm", "attention_ln"),
        *copy_grn("position_wise", "positionwise_grn", GRN),
        *copy_linear("before_head.gate.projection", "decoder_gate.lin"),
        *copy_linear("before_head.norm", "decoder_ln"),
        *copy_linear("head.projection", "quantile_proj"),
    ]
    if future:
        rules += _convert_selection("select_future", "future_vsn", future, d, has_context=True)
    for i, name in enumerate(CONTEXTS):
        rules += copy_grn(f"static.contexts.{name}", f"static_encoder.context_grns.{i}", GRN)
    return Plan(build=module_builder(model_config), rules=rules, unused=UNUSED, notes=tuple(notes))


def _described_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {name: config[name] for name in ("quantiles", "dropout") if name in config}
    if "encoder_length" in config:
        sizes["lookback"] = config["encoder_length"]
        if "example_length" in config:
            sizes["horizon"] = config["example_length"] - config["encoder_length"]
    return sizes


def _group_sizes(weights: Weights, group: str) -> tuple[int, list[int]]:
    """Return the number of reals of a group, and the cardinalities of its categories."""
    table = TABLES.get(group)
    count = 0 if table is None else weights.count_numbered(table, ".weight")
    return weights.rows(f"{REALS[group]}_vectors"), [weights.rows(f"{table}{i}.weight") for i in range(count)]


def _infer_sizes(weights: Weights, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the sizes that follow from shapes, None where they are open; and what was assumed."""
    targets, _ = _group_sizes(weights, "t_tgt")
    observed, observed_categories = _group_sizes(weights, "t_o")
    known, known_categories = _group_sizes(weights, "t_k")
    statics, static_categories = _group_sizes(weights, "s")
    hidden_size = weights.size("input_gate_ln.weight")
    # [queries of all heads, keys of all heads, one value]: (2 heads + 1) head sizes, and heads × head size is d
    head_size = weights.size("attention.qkv_linears.weight") - 2 * hidden_size
    levels, notes = infer_quantiles(weights.size("quantile_proj.weight"), QUANTILES, given, "NVIDIA's")
    sizes = {
        "num_targets": 1,
        "quantiles": levels,
        "observed_reals": targets + observed,
        "observed_categories": observed_categories,
        "known_reals": known,
        "known_categories": known_categories,
        "static_reals": statics,
        "static_categories": static_categories,
        "hidden_size": hidden_size,
        "num_heads": hidden_size // head_size if head_size > 0 else None,
        "layer_norm_eps": LAYER_NORM_EPS,
    }
    if "attention._mask" in weights.tensors and "lookback" in given:
        sizes["horizon"] = weights.size("attention._mask", 1) - given["lookback"]
    if targets > 1:
        notes.append(f"of {targets} targets only the first is forecast, as there; the others are observed inputs")
    notes.append("code 0 of a category is an ordinary value there; here the preprocessor gives it to unknown values")
    return sizes, notes


def _variable_orders(config: ModelConfig, targets: int) -> tuple[list[int], list[int], list[int]]:
    """Return the old positions of the static, past and future variables, in the order of this network."""

    def variables(kind: str, count: int) -> list[str]:
        return [f"{kind} {i}" for i in range(count)]

    target, observed = variables("target", targets), variables("observed", config.observed_reals - targets)
    observed_categories = variables("observed category", len(config.observed_categories))
    known = variables("known", config.known_reals)
    known_categories = variables("known category", len(config.known_categories))
    static = variables("static", config.static_reals)
    static_categories = variables("static category", len(config.static_categories))
    orders = (
        (static_categories + static, static + static_categories),
        (
            observed_categories + observed + known_categories + known + target,
            target + observed + known + observed_categories + known_categories,
        ),
        (known_categories + known, known + known_categories),
    )
    static_order, past_order, future_order = ([old.index(name) for name in new] for old, new in orders)
    return static_order, past_order, future_order


def _convert_embedding(new: str, weights: Weights, groups: Sequence[str], d: int) -> list[Rule]:
    sizes = {group: _group_sizes(weights, group) for group in groups}
    reals = [REALS[group] for group in groups if sizes[group][0]]
    tables = [f"{TABLES[group]}{i}.weight" for group in groups for i in range(len(sizes[group][1]))]
    return [
        concatenate(f"{new}.real_weight", [f"{name}_vectors" for name in reals], d),
        concatenate(f"{new}.real_bias", [f"{name}_bias" for name in reals], d),
        concatenate(f"{new}.table", tables, d),
    ]


def _convert_selection(new: str, old: str, order: list[int], d: int, *, has_context: bool) -> list[Rule]:
    """Return the rules for a variable selection, with its variables in the order of this network."""
    V, joint = len(order), f"{old}.joint_grn"

    def columns(weight: Tensor) -> Tensor:  # [rows, V * d]: a block of d columns a variable
        return weight.view(-1, V, d)[:, order].reshape(-1, V * d)

    def halves(x: Tensor) -> Tensor:  # [2 V, ...]: values of all variables, then their gates
        return x.view(2, V, *x.shape[1:])[:, order].reshape(x.shape)

    rules = [
        copy(f"{new}.joint.from_input.weight", f"{joint}.lin_a.weight", columns),
        copy(f"{new}.joint.from_input.bias", f"{joint}.lin_a.bias"),
        *copy_linear(f"{new}.joint.hidden", f"{joint}.lin_i"),
        copy(f"{new}.joint.gate.projection.weight", f"{joint}.glu.lin.weight", halves),
        copy(f"{new}.joint.gate.projection.bias", f"{joint}.glu.lin.bias", halves),
        copy(f"{new}.joint.skip.weight", f"{joint}.out_proj.weight", lambda weight: columns(weight[order])),
        copy(f"{new}.joint.skip.bias", f"{joint}.out_proj.bias", lambda bias: bias[order]),
    ]
    if has_context:
        rules += copy_linear(f"{new}.joint.from_context", f"{joint}.lin_c", bias=False)
    if V == 1:  # no norm there, and one variable has weight 1 in any case
        rules += [
            constant(f"{new}.joint.norm.weight", torch.ones(1)),
            constant(f"{new}.joint.norm.bias", torch.zeros(1)),
        ]
    else:
        norm = f"{joint}.layer_norm.ln"
        rules += [copy(f"{new}.joint.norm.{name}", f"{norm}.{name}", lambda x: x[order]) for name in PARAMETERS]
    for part, old_part in VARIABLE_GRN.items():
        rules += [
            stack(f"{new}.variables.{part}.{name}", [f"{old}.var_grns.{i}.{old_part}.{name}" for i in order])
            for name in PARAMETERS
        ]
    return rules


def _convert_attention(d: int, num_heads: int) -> list[Rule]:
    """Return the rules that split the one matrix of queries, keys and the value."""
    rows = {"query": slice(0, d), "key": slice(d, 2 * d), "value": slice(2 * d, 2 * d + d // num_heads)}
    return [
        *(
            copy(f"attention.{name}.weight", "attention.qkv_linears.weight", itemgetter(part))
            for name, part in rows.items()
        ),
        *copy_linear("attention.output", "attention.out_proj", bias=False),
    ]
