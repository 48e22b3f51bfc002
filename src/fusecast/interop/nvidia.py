"""The TFT of NVIDIA's DeepLearningExamples: the same mathematics but for one epsilon, in another order.

Its name map and all differences are written down in docs/migrate.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusecast.errors import ArtifactError
from fusecast.interop.config_inference import config_of, levels_of, module_of
from fusecast.interop.rules import Plan, Rule, constant, gated_residual_network, joined, linear, lstm, stacked
from fusecast.interop.state_dict import Weights
from fusecast.model.config import ModelConfig

LANDMARK = "history_encoder.weight_ih_l0"
"""A tensor that every file of this kind holds, and no other."""

LAYER_NORM_EPS = 1e-3
QUANTILES = (0.1, 0.5, 0.9)

GRN = {
    "from_input": "lin_a",
    "from_context": "lin_c",
    "hidden": "lin_i",
    "gate.projection": "glu.lin",
    "norm": "layer_norm.ln",
}
VARIABLE_GRN = {"from_input": "lin_a", "hidden": "lin_i", "gate": "glu.lin", "norm": "layer_norm.ln"}
KINDS = ("weight", "bias")
REALS = {
    "s": "embedding.s_cont_embedding",
    "t_tgt": "embedding.t_tgt_embedding",
    "t_o": "embedding.t_cont_o_embedding",
    "t_k": "embedding.t_cont_k_embedding",
}
TABLES = {"s": "embedding.s_cat_embed.", "t_o": "embedding.t_cat_o_embed.", "t_k": "embedding.t_cat_k_embed."}
CONTEXTS = ("selection", "enrichment", "hidden", "cell")
"""The static contexts in their order there."""


def plan(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the import of a state dict of NVIDIA's network.

    Parameters
    ----------
    weights
        The old file.
    config
        Their configuration in plain values: ``encoder_length``, ``example_length``, ``quantiles`` and ``dropout`` are
        looked at, the rest is in the tensors.
    sizes
        Fields of the ModelConfig; they go before all else.

    Raises
    ------
    ArtifactError, ConfigError
        When a size is said by nobody, or the file is not of this network.
    """
    given = _sizes_of(config) | dict(sizes)
    if not weights.numbered("static_encoder.vsn.var_grns.", ".lin_a.weight"):
        raise ArtifactError.lacks_tensor(weights.path, "static_encoder.vsn.var_grns.0.lin_a.weight")
    found, notes = _infer(weights, given)
    model_config = config_of(weights, found, given)
    d, (targets, _) = model_config.hidden_size, _counts(weights, "t_tgt")
    rules = [
        *_embedding("static.embedding", weights, ["s"], d),
        *_embedding("embedding", weights, ["t_tgt", "t_o", "t_k"], d),
        *_selection("static.select", "static_encoder.vsn", _static_order(model_config), d, has_context=False),
        *_selection("select_past", "history_vsn", _past_order(model_config, targets), d, has_context=True),
        *lstm("recurrence.encoder", "history_encoder", 1),
        *lstm("recurrence.decoder", "future_encoder", 1),
        *linear("after_recurrence.gate.projection", "input_gate.lin"),
        *linear("after_recurrence.norm", "input_gate_ln"),
        *gated_residual_network("enrich", "enrichment_grn", GRN, has_context=True),
        *_attention(d, model_config.num_heads),
        *linear("after_attention.gate.projection", "attention_gate.lin"),
        *linear("after_attention.norm", "attention_ln"),
        *gated_residual_network("position_wise", "positionwise_grn", GRN),
        *linear("before_head.gate.projection", "decoder_gate.lin"),
        *linear("before_head.norm", "decoder_ln"),
        *linear("head.projection", "quantile_proj"),
    ]
    if model_config.num_future:
        rules += _selection("select_future", "future_vsn", _future_order(model_config), d, has_context=True)
    for number, name in enumerate(CONTEXTS):
        rules += gated_residual_network(f"static.contexts.{name}", f"static_encoder.context_grns.{number}", GRN)
    unused = {
        "attention._mask": "a constant: the causal mask",
        "static_encoder.vsn.joint_grn.lin_c.weight": "never used there: the static selection has no context",
    }
    return Plan(build=module_of(model_config), rules=rules, unused=unused, notes=tuple(notes))


def _sizes_of(config: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {name: config[name] for name in ("quantiles", "dropout") if name in config}
    if "encoder_length" in config:
        sizes["lookback"] = config["encoder_length"]
        if "example_length" in config:
            sizes["horizon"] = config["example_length"] - config["encoder_length"]
    return sizes


def _counts(weights: Weights, group: str) -> tuple[int, tuple[int, ...]]:
    """Give the reals and the cardinalities of a group: s(tatic), t_tgt (targets), t_o(bserved), t_k(nown)."""
    table = TABLES.get(group, "")
    count = weights.numbered(table, ".weight") if table else 0
    return weights.rows(f"{REALS[group]}_vectors"), tuple(weights.rows(f"{table}{i}.weight") for i in range(count))


def _infer(weights: Weights, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    targets, _ = _counts(weights, "t_tgt")
    observed, observed_categories = _counts(weights, "t_o")
    known, known_categories = _counts(weights, "t_k")
    statics, static_categories = _counts(weights, "s")
    hidden_size = weights.size("input_gate_ln.weight")
    # [queries of all heads, keys of all heads, one value]: (2 heads + 1) head sizes, and heads × head size is d
    head = weights.size("attention.qkv_linears.weight") - 2 * hidden_size
    levels, notes = levels_of(weights.size("quantile_proj.weight"), QUANTILES, given, "NVIDIA's")
    found = {
        "num_targets": 1,
        "quantiles": levels,
        "observed_reals": targets + observed,
        "observed_categories": observed_categories,
        "known_reals": known,
        "known_categories": known_categories,
        "static_reals": statics,
        "static_categories": static_categories,
        "hidden_size": hidden_size,
        "num_heads": hidden_size // head if head > 0 else None,
        "layer_norm_eps": LAYER_NORM_EPS,
    }
    if "attention._mask" in weights.tensors and "lookback" in given:
        found["horizon"] = weights.size("attention._mask", 1) - given["lookback"]
    if targets > 1:
        notes.append(f"of {targets} targets only the first is forecast, as there; the others are observed inputs")
    notes.append("code 0 of a category is an ordinary value there; here the preprocessor gives it to unknown values")
    return found, notes


def _order(*groups: tuple[str, int]) -> list[str]:
    return [f"{group}{number}" for group, count in groups for number in range(count)]


def _places(old: list[str], new: list[str]) -> list[int]:
    """Say where in the old order each variable of the new one stands."""
    return [old.index(name) for name in new]


def _static_order(config: ModelConfig) -> list[int]:
    reals, categories = ("real", config.static_reals), ("category", len(config.static_categories))
    return _places(_order(categories, reals), _order(reals, categories))


def _past_order(config: ModelConfig, targets: int) -> list[int]:
    target, observed = ("target", targets), ("observed real", config.observed_reals - targets)
    known, known_categories = ("known real", config.known_reals), ("known category", len(config.known_categories))
    observed_categories = ("observed category", len(config.observed_categories))
    return _places(
        _order(observed_categories, observed, known_categories, known, target),
        _order(target, observed, known, observed_categories, known_categories),
    )


def _future_order(config: ModelConfig) -> list[int]:
    reals, categories = ("real", config.known_reals), ("category", len(config.known_categories))
    return _places(_order(categories, reals), _order(reals, categories))


def _embedding(new: str, weights: Weights, groups: Sequence[str], d: int) -> list[Rule]:
    reals = [group for group in groups if _counts(weights, group)[0]]
    tables = [
        f"{TABLES[group]}{number}.weight" for group in groups for number in range(len(_counts(weights, group)[1]))
    ]
    return [
        joined(f"{new}.real_weight", [f"{REALS[group]}_vectors" for group in reals], d),
        joined(f"{new}.real_bias", [f"{REALS[group]}_bias" for group in reals], d),
        joined(f"{new}.table", tables, d),
    ]


def _selection(new: str, old: str, order: list[int], d: int, *, has_context: bool) -> list[Rule]:
    """Take a variable selection, its variables put into this network's order."""
    V, joint = len(order), f"{old}.joint_grn"

    def columns(weight: Tensor) -> Tensor:  # [rows, V * d]: a block of d columns a variable
        return weight.view(-1, V, d)[:, order].reshape(-1, V * d)

    rules = [
        Rule(f"{new}.joint.from_input.weight", (f"{joint}.lin_a.weight",), columns),
        Rule(f"{new}.joint.from_input.bias", (f"{joint}.lin_a.bias",), torch.clone),
        *linear(f"{new}.joint.hidden", f"{joint}.lin_i"),
        # values of all variables first, then their gates
        Rule(
            f"{new}.joint.gate.projection.weight",
            (f"{joint}.glu.lin.weight",),
            lambda weight: weight.view(2, V, d)[:, order].reshape(2 * V, d),
        ),
        Rule(
            f"{new}.joint.gate.projection.bias",
            (f"{joint}.glu.lin.bias",),
            lambda bias: bias.view(2, V)[:, order].reshape(2 * V),
        ),
        Rule(f"{new}.joint.skip.weight", (f"{joint}.out_proj.weight",), lambda weight: columns(weight[order])),
        Rule(f"{new}.joint.skip.bias", (f"{joint}.out_proj.bias",), lambda bias: bias[order]),
    ]
    if has_context:
        rules += linear(f"{new}.joint.from_context", f"{joint}.lin_c", bias=False)
    if V == 1:  # no norm there, and one variable has weight 1 whatever the network says
        rules += [
            constant(f"{new}.joint.norm.weight", torch.ones(1)),
            constant(f"{new}.joint.norm.bias", torch.zeros(1)),
        ]
    else:
        norm = f"{joint}.layer_norm.ln"
        rules += [Rule(f"{new}.joint.norm.{kind}", (f"{norm}.{kind}",), lambda x: x[order]) for kind in KINDS]
    for part, name in VARIABLE_GRN.items():
        rules += [
            stacked(f"{new}.variables.{part}.{kind}", [f"{old}.var_grns.{place}.{name}.{kind}" for place in order])
            for kind in KINDS
        ]
    return rules


def _attention(d: int, num_heads: int) -> list[Rule]:
    """Part the one matrix of queries, keys and the value."""
    together = ("attention.qkv_linears.weight",)
    parts = {"query": slice(0, d), "key": slice(d, 2 * d), "value": slice(2 * d, 2 * d + d // num_heads)}
    return [
        *(
            Rule(f"attention.{name}.weight", together, lambda weight, rows=rows: weight[rows])
            for name, rows in parts.items()
        ),
        *linear("attention.output", "attention.out_proj", bias=False),
    ]
