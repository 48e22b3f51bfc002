"""A state dict of this network: the names are the same, and most sizes follow from the shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusecast.interop.config_inference import check_fields, infer_config, infer_quantiles, module_builder
from fusecast.interop.rules import Plan, copy
from fusecast.interop.state_dict import Weights
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

MARKER_TENSOR = "recurrence.encoder.weight_ih_l0"


def plan_conversion(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the conversion of a state dict of this network.

    `config` is a ModelConfig in plain values, or the ``config.json`` of a bundle. A checkpoint of fusecast describes
    its own network, and nothing is inferred.
    """
    described = weights.parameters.get("model", {})
    given = {**(described if isinstance(described, Mapping) else {}), **check_fields(config.get("model", config))}
    given |= sizes
    inferred, notes = ({}, []) if described else _infer_sizes(weights, given)
    model_config = infer_config(weights, inferred, given, quantiles_only=False)
    rules = [copy(name, name) for name in TemporalFusionTransformer(model_config).state_dict()]
    return Plan(build=module_builder(model_config), rules=rules, notes=tuple(notes))


def _infer_sizes(weights: Weights, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the sizes that follow from shapes, None where they are open; and what was assumed."""
    hidden_size = given.get("hidden_size") or weights.size("after_recurrence.norm.weight")
    reals, variables = weights.rows("embedding.real_weight"), weights.rows("select_past.joint.norm.weight")
    known = weights.rows("select_future.joint.norm.weight")
    categories = variables - reals
    sizes: dict[str, Any] = {"hidden_size": hidden_size}
    if "num_heads" not in given:
        sizes["num_heads"] = hidden_size // weights.size("attention.value.weight")
    sizes["num_lstm_layers"] = weights.count_numbered("recurrence.encoder.weight_ih_l")
    sizes["attention_bias"] = "attention.value.bias" in weights.tensors
    sizes["selection_skip_norm"] = "select_past.skip_norm.weight" in weights.tensors
    if "select_past.variables.skip_norm.weight" in weights.tensors:
        sizes["variable_skip"] = "normalised"
    elif "select_past.variables.skip_weight" in weights.tensors:
        sizes["variable_skip"] = "linear"
    sizes |= _infer_static(weights)
    # How many variables are known follows from shapes, and how many are reals; with both kinds, not how many are both.
    known_reals = given.get("known_reals")
    if known_reals is None and (categories == 0 or known == 0):
        known_reals = known
    elif known_reals is None and "observed_reals" in given:
        known_reals = reals - given["observed_reals"]
    sizes["known_reals"] = known_reals
    if known_reals is not None:
        known_categories, rows = known - known_reals, weights.rows("embedding.table")
        sizes["observed_reals"] = reals - known_reals
        sizes["known_categories"] = _cardinalities(known_categories, categories, rows)
        sizes["observed_categories"] = _cardinalities(categories - known_categories, categories, rows)
    notes: list[str] = []
    if given.get("head", "quantile") == "quantile" and not {"num_targets", "quantiles"} <= given.keys():
        levels = weights.size("head.projection.bias") // given.get("num_targets", 1)
        sizes["quantiles"], notes = infer_quantiles(levels, ModelConfig.quantiles, given, "this network's")
    return sizes, notes


def _infer_static(weights: Weights) -> dict[str, Any]:
    variables, reals = weights.rows("static.select.joint.norm.weight"), weights.rows("static.embedding.real_weight")
    count = variables - reals
    return {
        "static_reals": reals,
        "static_categories": _cardinalities(count, count, weights.rows("static.embedding.table")),
        "contexts_without_static": variables == 0 and "static.contexts.hidden.norm.weight" in weights.tensors,
    }


def _cardinalities(count: int, of_all: int, rows: int) -> tuple[int, ...] | None:
    """Return the cardinalities of `count` categories, None where they are open.

    The tables of all categories stand end to end: one alone has all rows; of several the bounds are unknown.
    """
    if count == 0:
        return ()
    return (rows,) if of_all == 1 else None
