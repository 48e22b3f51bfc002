"""A state dict of this network: names are the same, and what its shapes say of the sizes is read off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fusecast.interop.config_inference import checked, config_of, levels_of, module_of
from fusecast.interop.rules import Plan, Rule
from fusecast.interop.state_dict import Weights
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

LANDMARK = "recurrence.encoder.weight_ih_l0"
"""A tensor that every file of this kind holds, and no other."""

QUANTILES = (0.1, 0.5, 0.9)


def plan(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the import of a state dict of this network.

    Parameters
    ----------
    weights
        The old file. Where it is a checkpoint of ours it describes its own network, and nothing is inferred.
    config
        A ModelConfig in plain values, or the ``config.json`` of a bundle.
    sizes
        Single fields of the ModelConfig; they go before all else.

    Raises
    ------
    ArtifactError, ConfigError
        When a size is said by nobody, or sizes cannot work.
    """
    described = weights.parameters.get("model", {})
    inside = config.get("model", config)
    given = {**(described if isinstance(described, Mapping) else {}), **checked(inside), **sizes}
    if described:
        found: dict[str, Any] = {}
        notes: list[str] = []
    else:
        found, notes = _infer(weights, given)
    model_config = config_of(weights, found, given, quantiles_only=False)
    names = TemporalFusionTransformer(model_config).state_dict()
    rules = [Rule(name, (name,), torch.clone) for name in names]
    return Plan(build=module_of(model_config), rules=rules, notes=tuple(notes))


def _infer(weights: Weights, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Read sizes off shapes; None is a size that shapes leave open."""
    unknown = {name for name in ModelConfig.__dataclass_fields__ if name not in given}
    hidden_size = given.get("hidden_size") or weights.size("after_recurrence.norm.weight")
    reals, variables = weights.rows("embedding.real_weight"), weights.rows("select_past.joint.norm.weight")
    known = weights.rows("select_future.joint.norm.weight")
    categories = variables - reals
    found: dict[str, Any] = {"hidden_size": hidden_size}
    if "num_heads" in unknown:
        found["num_heads"] = hidden_size // weights.size("attention.value.weight")
    found["num_lstm_layers"] = weights.numbered("recurrence.encoder.weight_ih_l")
    found["attention_bias"] = "attention.value.bias" in weights.tensors
    found["selection_skip_norm"] = "select_past.skip_norm.weight" in weights.tensors
    if "select_past.variables.skip_norm.weight" in weights.tensors:
        found["variable_skip"] = "normalised"
    elif "select_past.variables.skip_weight" in weights.tensors:
        found["variable_skip"] = "linear"
    found |= _static(weights)
    # Shapes say how many variables are known, and how many are reals; with both kinds, not how many are both.
    observed = given.get("observed_reals")
    said = None if observed is None else reals - observed
    found["known_reals"] = given.get("known_reals", known if categories == 0 or known == 0 else said)
    if found["known_reals"] is not None:
        found["observed_reals"] = reals - found["known_reals"]
        found |= _categories(weights, categories, known - found["known_reals"], given)
    notes: list[str] = []
    if given.get("head", "quantile") == "quantile" and unknown & {"num_targets", "quantiles"}:
        rows = weights.size("head.projection.bias")
        targets = given.get("num_targets", 1)
        found["quantiles"], notes = levels_of(rows // targets, QUANTILES, given, "this network's")
    return found, notes


def _static(weights: Weights) -> dict[str, Any]:
    variables, reals = weights.rows("static.select.joint.norm.weight"), weights.rows("static.embedding.real_weight")
    rows = weights.rows("static.embedding.table")
    count = variables - reals
    # Tables stand end to end: with one, its rows are its cardinality; with several, nobody knows where each ends.
    cardinalities = () if count == 0 else (rows,) if count == 1 else None
    without = variables == 0 and "static.contexts.hidden.norm.weight" in weights.tensors
    return {"static_reals": reals, "static_categories": cardinalities, "contexts_without_static": without}


def _categories(weights: Weights, count: int, known: int, given: Mapping[str, Any]) -> dict[str, Any]:
    rows = weights.rows("embedding.table")
    single = (rows,) if count == 1 else None
    return {
        "known_categories": given.get("known_categories", () if known == 0 else single),
        "observed_categories": given.get("observed_categories", () if known == count else single),
    }
