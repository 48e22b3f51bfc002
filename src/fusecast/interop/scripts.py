"""A state dict of the module that the training script has: this network, and the statistics of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.errors import ConfigError
from fusecast.interop.rules import Plan, Rule, constant
from fusecast.interop.state_dict import Weights

LANDMARK = "target_center"
"""A tensor that every file of this kind holds, and no other."""

STATISTICS = ("center", "scale", "target_center", "target_scale")
OPTIONS = (
    "input_size",
    "hidden_size",
    "num_heads",
    "num_lstm_layers",
    "dropout",
    "output_size",
    "learning_rate",
    "lr_scheduler_factor",
    "lr_scheduler_patience",
    "seed",
)


def plan(weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
    """Plan the import for ``TemporalFusionTransformerLightning``; all sizes follow from the tensors.

    Parameters
    ----------
    weights
        The old file. One without statistics (a bare network) is taken to work on data as they come.
    config, sizes
        Arguments of ``TemporalFusionTransformerLightning``; those in the file come after them.

    Raises
    ------
    ArtifactError, ConfigError
        When a tensor that says a size is missing, or sizes cannot work.
    """
    given = {**config, **sizes}
    for name in given:
        if name not in OPTIONS:
            raise ConfigError.unknown_option(str(name), OPTIONS)
    options = {name: weights.parameters[name] for name in OPTIONS if name in weights.parameters} | given
    sources = {
        "input_size": lambda: weights.size("embedding.real_weight"),
        "output_size": lambda: weights.size("head.projection.bias"),
        "hidden_size": lambda: weights.size("after_recurrence.norm.weight"),
        "num_heads": lambda: weights.size("attention.value.weight", 1) // weights.size("attention.value.weight"),
        "num_lstm_layers": lambda: max(1, weights.numbered("recurrence.encoder.weight_ih_l")),
    }
    options = {name: size() for name, size in sources.items() if name not in options} | {"seed": 0} | options
    module = TemporalFusionTransformerLightning(**options)
    state = module.state_dict()
    bare = not any(name in weights.tensors for name in STATISTICS)
    rules = [
        constant(name, tensor)
        if bare and name in STATISTICS
        else Rule(name, (name.removeprefix("network."),), torch.clone)
        for name, tensor in state.items()
    ]
    notes = ("the file has no statistics of the data: inputs are taken as they come",) if bare else ()
    return Plan(build=lambda: TemporalFusionTransformerLightning(**options), rules=rules, notes=notes)
