"""A state dict of the scripts' LightningModule: this network, and the statistics of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from fusecast.compat.lightning_scripts.module import STATISTICS, TemporalFusionTransformerLightning
from fusecast.errors import ConfigError
from fusecast.interop.rules import Plan, constant, copy
from fusecast.interop.state_dict import Weights

MARKER_TENSOR = "target_center"
OPTIONS = tuple(signature(TemporalFusionTransformerLightning).parameters)


def plan_conversion(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the conversion for ``TemporalFusionTransformerLightning``; all sizes follow from the tensors.

    `config` and `sizes` are arguments of that class, and override those of the file. A file without statistics (a bare
    network) is converted for inputs that are not standardised.
    """
    given = {**config, **sizes}
    for name in given:
        if name not in OPTIONS:
            raise ConfigError.unknown("option", name, OPTIONS)
    given = {name: weights.parameters[name] for name in OPTIONS if name in weights.parameters} | given
    inferred = {
        "input_size": lambda: weights.size("embedding.real_weight"),
        "output_size": lambda: weights.size("head.projection.bias"),
        "hidden_size": lambda: weights.size("after_recurrence.norm.weight"),
        "num_heads": lambda: weights.size("attention.value.weight", 1) // weights.size("attention.value.weight"),
        "num_lstm_layers": lambda: max(1, weights.count_numbered("recurrence.encoder.weight_ih_l")),
        "seed": lambda: 0,
    }
    options = {name: infer() for name, infer in inferred.items() if name not in given} | given
    state = TemporalFusionTransformerLightning(**options).state_dict()
    bare = not any(name in weights.tensors for name in STATISTICS)
    rules = [
        constant(name, tensor) if bare and name in STATISTICS else copy(name, name.removeprefix("network."))
        for name, tensor in state.items()
    ]
    notes = ("the file has no statistics of the data: inputs are taken as they come",) if bare else ()
    return Plan(build=lambda: TemporalFusionTransformerLightning(**options), rules=rules, notes=notes)
