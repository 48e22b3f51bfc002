from __future__ import annotations

import json

import pytest
from tests.helpers.networks import FULL

from fusecast.errors import ConfigError
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer


def test_config_survives_json():
    config = ModelConfig(horizon=3, lookback=5, quantiles=(0.2, 0.8), static_categories=(4, 2), known_reals=1)
    assert ModelConfig(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"horizon": 0}, "horizon must be at least 1, not 0"),
        ({"hidden_size": 10, "num_heads": 4}, "num_heads must divide hidden_size: 10 is not divisible by 4"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
        ({"quantiles": (0.5, 0.1)}, "quantiles must increase"),
        ({"quantiles": (0.0, 0.5)}, "quantiles must increase and lie between 0 and 1"),
        ({"quantiles": ()}, "quantiles must increase"),
        ({"num_targets": 2}, "num_targets must lie in \\[1, 1\\], the observed_reals, not 2"),
    ],
)
def test_a_size_that_cannot_work_is_refused_in_words(wrong, words):
    with pytest.raises(ConfigError, match=words):
        ModelConfig(**({"horizon": 3, "lookback": 5} | wrong))


def test_variables_are_counted_by_group():
    config = ModelConfig(
        horizon=1, lookback=1, static_reals=1, static_categories=(2,), observed_reals=3, observed_categories=(2, 2),
        known_reals=4, known_categories=(2,),
    )  # fmt: skip
    assert (config.num_static, config.num_past, config.num_future) == (2, 10, 5)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("layer_norm_eps", 0.0, "layer_norm_eps must lie in"),
        ("attention_mask", "stirct", "did you mean 'strict'"),
        ("variable_skip", "resampled", "available are 'identity', 'linear', 'normalised'"),
    ],
)
def test_an_impossible_switch_is_refused_in_words(name, value, words):
    with pytest.raises(ConfigError, match=words):
        ModelConfig(horizon=1, lookback=1, **{name: value})


def test_switches_are_the_papers_where_they_are_not_set():
    parameters = {name for name, _ in TemporalFusionTransformer(FULL).named_parameters()}
    assert not {name for name in parameters if "skip_norm" in name or "skip_weight" in name}
    assert not {name for name in parameters if name.startswith("attention.") and name.endswith("bias")}
