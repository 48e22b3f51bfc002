"""Weights of NVIDIA's DeepLearningExamples give the forecasts that their network gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.helpers.nvidia_reference import Inputs, Reference, Sizes, random_inputs, random_state
from tests.helpers.random_batches import build_batch
from tests.helpers.weight_files import save_weights

from fusecast.errors import ArtifactError, ConfigError
from fusecast.interop import convert
from fusecast.model.tft import TemporalFusionTransformer

ELECTRICITY = Sizes(static_categories=(9,), known_reals=3)
EVERYTHING = Sizes(
    static_categories=(4, 3), static_reals=2, known_categories=(5, 2), known_reals=2, observed_categories=(3, 6),
    observed_reals=2, targets=2, hidden=12, heads=3,
)  # fmt: skip
SINGLE = Sizes(static_reals=1, known_categories=(4,), heads=1)


def forecast(network: TemporalFusionTransformer, sizes: Sizes, x: Inputs) -> torch.Tensor:
    """Forecast their inputs with the converted network: targets, other reals, known reals, then categories likewise."""
    L = sizes.encoder_length
    past_real = torch.cat((x["target"], x["o_cont"], x["k_cont"]), dim=-1)[:L]
    batch = build_batch(
        static_real=x["s_cont"][:1],
        static_cat=x["s_cat"][:1],
        past_real=past_real.unsqueeze(0),
        past_cat=torch.cat((x["o_cat"], x["k_cat"]), dim=-1)[:L].unsqueeze(0),
        future_real=x["k_cont"][L:].unsqueeze(0),
        future_cat=x["k_cat"][L:].unsqueeze(0),
    )
    with torch.no_grad():
        return network(batch).quantiles[0, :, 0]


@pytest.mark.parametrize("sizes", [ELECTRICITY, EVERYTHING, SINGLE], ids=["electricity", "everything", "single"])
def test_imported_weights_give_the_forecasts_of_their_network(sizes, tmp_path):
    state = random_state(sizes)
    migration = convert(save_weights(state, tmp_path), sizes={"lookback": sizes.encoder_length})
    assert migration.kind == "nvidia"
    assert migration.matching.complete
    assert migration.config.horizon == sizes.example_length - sizes.encoder_length
    for seed in range(3):
        x = random_inputs(sizes, seed)
        expected = Reference(sizes, state)(x).float()
        torch.testing.assert_close(forecast(migration.network, sizes, x), expected, rtol=0, atol=1e-4)


def test_the_comparison_detects_another_epsilon(tmp_path):
    state, x = random_state(EVERYTHING), random_inputs(EVERYTHING)
    network = convert(save_weights(state, tmp_path), sizes={"lookback": 5, "layer_norm_eps": 1e-5}).network
    converted = forecast(network, EVERYTHING, x)
    assert (converted - Reference(EVERYTHING, state)(x).float()).abs().max() > 1e-4


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {  # as in their newer code
            name if name.startswith(("embedding", "static_encoder")) else f"TFTpart2.{name}": tensor
            for name, tensor in state.items()
        },
    ],
    ids=["their checkpoint without its pickles", "their newer names"],
)
def test_their_files_are_read_as_they_save_them(wrap, tmp_path):
    state, x = random_state(ELECTRICITY), random_inputs(ELECTRICITY)
    bare = convert(save_weights(state, tmp_path), sizes={"lookback": 5}).network
    wrapped = convert(save_weights(wrap(state), tmp_path), sizes={"lookback": 5}).network
    assert torch.equal(forecast(wrapped, ELECTRICITY, x), forecast(bare, ELECTRICITY, x))


def test_their_configuration_has_the_sizes_that_tensors_do_not(tmp_path):
    sizes = replace(ELECTRICITY, quantiles=2)
    path = save_weights(random_state(sizes), tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"^lookback, quantiles cannot be inferred(.|\n)*Hint: --set lookback=\.\.\. --set quantiles=\.\.\.",
    ):
        convert(path, sizes={"horizon": 3})
    theirs = {"encoder_length": 5, "example_length": 8, "quantiles": [0.2, 0.8], "dropout": 0.3, "scale_per_id": True}
    config = convert(path, config=theirs).config
    assert (config.lookback, config.horizon, config.quantiles, config.dropout) == (5, 3, (0.2, 0.8), 0.3)
    assert (config.num_heads, config.layer_norm_eps, config.static_categories) == (2, 1e-3, (9,))


def test_assumed_quantile_levels_are_noted(tmp_path):
    migration = convert(save_weights(random_state(ELECTRICITY), tmp_path), sizes={"lookback": 5})
    assert any("quantile levels 0.1, 0.5, 0.9 are assumed" in note for note in migration.notes)


def test_a_file_without_static_variables_is_refused_with_the_reason(tmp_path):
    state = {name: tensor for name, tensor in random_state(ELECTRICITY).items() if "static_encoder.vsn" not in name}
    with pytest.raises(ArtifactError, match=r"lacks tensor 'static_encoder\.vsn\.var_grns\.0\.lin_a\.weight'"):
        convert(save_weights(state, tmp_path), sizes={"lookback": 5})
