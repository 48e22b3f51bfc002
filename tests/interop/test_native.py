"""State dicts of this network, however they were saved, give the network that they came from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from safetensors.torch import save_file
from tests.helpers.weight_files import save_weights
from torch.utils.data import DataLoader

from fusecast.errors import ArtifactError, ConfigError
from fusecast.interop import convert
from fusecast.interop.config_inference import infer_config
from fusecast.interop.conversion import PartialMatchError
from fusecast.interop.state_dict import read_weights
from fusecast.model.batch import example_batch
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.lightning_module import TFTModule
from fusecast.training.trainer import quiet_lightning

CONFIG = ModelConfig(
    horizon=3, lookback=5, static_reals=1, static_categories=(4,), observed_reals=2, known_reals=2, hidden_size=8,
    num_heads=2, num_lstm_layers=2, dropout=0.0,
)  # fmt: skip
SIZES = {"horizon": 3, "lookback": 5}

State = dict[str, torch.Tensor]


@pytest.fixture
def network() -> TemporalFusionTransformer:
    torch.manual_seed(5)
    return TemporalFusionTransformer(CONFIG).eval()


def forecast(network: torch.nn.Module, config: ModelConfig = CONFIG) -> torch.Tensor:
    batch = example_batch(config, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network(batch).quantiles


def add_prefix(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.model.", "_orig_mod.module.network."])
def test_prefixes_and_keys_do_not_matter(prefix, key, network, tmp_path):
    state: Any = add_prefix(network.state_dict(), prefix)
    path = save_weights(state if key is None else {key: state, "epoch": 3}, tmp_path)
    migration = convert(path, sizes=SIZES)
    assert migration.kind == "native"
    assert migration.matching.complete
    assert torch.equal(forecast(migration.network), forecast(network))


def test_the_converted_checkpoint_loads_by_its_path_alone_and_trains_on(network, tmp_path):
    written = convert(save_weights(network.state_dict(), tmp_path), tmp_path / "new.ckpt", sizes=SIZES).path
    module = TFTModule.load_from_checkpoint(written)
    assert torch.equal(forecast(module.eval()), forecast(network))

    loader = DataLoader([example_batch(CONFIG, 3)], batch_size=None)
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, num_sanity_val_steps=0,
    )  # fmt: skip
    with quiet_lightning():
        trainer.fit(module.train(), loader, loader)
    assert not torch.equal(forecast(module.eval()), forecast(network))
    assert (
        forecast(module) - forecast(network)
    ).abs().max() < 0.5  # trained from the converted weights, not from initial ones


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        ModelConfig(**SIZES, hidden_size=6, num_heads=3),
        ModelConfig(**SIZES, hidden_size=8, num_heads=2, observed_categories=(5,)),
        ModelConfig(**SIZES, hidden_size=8, num_heads=1, observed_reals=3, contexts_without_static=True),
        replace(CONFIG, attention_bias=True, variable_skip="normalised", selection_skip_norm=True),
        replace(CONFIG, variable_skip="linear"),
    ],
    ids=["full", "bare", "category", "contexts", "switches", "linear"],
)
def test_sizes_are_read_off_the_shapes(config, tmp_path):
    path = save_weights(TemporalFusionTransformer(config).state_dict(), tmp_path)
    dropout = {"dropout": config.dropout}  # follows from no shape
    assert convert(path, sizes=SIZES | dropout).config == config


def test_sizes_that_no_shape_determines_are_named(tmp_path):
    config = replace(CONFIG, static_categories=(4, 2), observed_categories=(3,), known_categories=(2,))
    path = save_weights(TemporalFusionTransformer(config).state_dict(), tmp_path)
    with pytest.raises(ConfigError) as error:
        convert(path)
    assert "horizon, lookback, static_categories" in str(error.value)
    assert "known_reals" in str(error.value)
    with pytest.raises(ConfigError, match=r"^observed_categories, known_categories cannot be inferred"):
        convert(path, sizes=SIZES | {"static_categories": [4, 2], "known_reals": 2})
    others = {"static_categories": [4, 2], "observed_categories": [3], "known_categories": [2], "dropout": 0.0}
    assert convert(path, sizes=SIZES | others | {"observed_reals": 2}).config == config
    assert convert(path, config=config.to_dict()).config == config
    with pytest.raises(ConfigError, match=r"there is no option 'horizont'\nHint: did you mean 'horizon'"):
        convert(path, sizes={"horizont": 3})


def test_assumed_quantile_levels_are_noted(network, tmp_path):
    notes = convert(save_weights(network.state_dict(), tmp_path), sizes=SIZES).notes
    assert any("quantile levels 0.1, 0.5, 0.9 are assumed" in note for note in notes)
    two = TemporalFusionTransformer(replace(CONFIG, quantiles=(0.2, 0.8))).state_dict()
    with pytest.raises(ConfigError, match=r"^quantiles cannot be inferred"):
        convert(save_weights(two, tmp_path), sizes=SIZES)


def test_a_checkpoint_of_fusecast_describes_itself(tmp_path):
    module = TFTModule(replace(CONFIG, static_categories=(4, 2)).to_dict())
    path = save_weights({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, tmp_path)
    migration = convert(path)
    assert migration.config == module.model_config
    assert migration.notes == ()


def test_weights_of_a_saved_run_are_read_with_its_description(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    described = json.loads(json.dumps({"format": 1, "model": CONFIG.to_dict()}))
    migration = convert(tmp_path / "model.safetensors", config=described)
    assert migration.config == CONFIG
    assert torch.equal(forecast(migration.network), forecast(network))


def test_half_precision_weights_become_single_precision(network, tmp_path):
    state = {name: tensor.half() for name, tensor in network.state_dict().items()}
    converted = convert(save_weights(state, tmp_path), sizes=SIZES).network
    assert {tensor.dtype for tensor in converted.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(forecast(converted), forecast(network), rtol=0, atol=1e-2)


def damaged(network: TemporalFusionTransformer) -> State:
    state = dict(network.state_dict())
    del state["enrich.hidden.bias"]
    state["position_wise.hidden.weight"] = torch.zeros(8, 9)
    state["optimizer_step"] = torch.zeros(())
    return state


def test_a_partial_match_is_refused_with_every_name(network, tmp_path):
    path = save_weights(damaged(network), tmp_path)
    with pytest.raises(PartialMatchError) as refused:
        convert(path, tmp_path / "new.ckpt", sizes=SIZES)
    text = str(refused.value)
    assert "missing: 'enrich.hidden.bias'" in text
    assert "unexpected: 'optimizer_step'" in text
    assert "of another shape: 'position_wise.hidden.weight'" in text
    assert not (tmp_path / "new.ckpt").exists()
    matching = refused.value.matching
    counts = [matching.count(status) for status in ("matched", "missing", "unexpected", "wrong shape")]
    assert counts == [len(network.state_dict()) - 2, 1, 1, 1]
    (wrong,) = (row for row in matching.rows if row.status == "wrong shape")
    assert wrong.detail == "8 x 9, not 8 x 8"


def test_a_requested_partial_match_leaves_the_rest_untrained_and_the_same_each_time(network, tmp_path):
    path = save_weights(damaged(network), tmp_path)
    first, second = (convert(path, sizes=SIZES, partial=True) for _ in range(2))
    assert not first.matching.complete
    state, expected = first.network.state_dict(), network.state_dict()
    for name in state:
        same = name not in ("enrich.hidden.bias", "position_wise.hidden.weight")
        assert torch.equal(state[name], expected[name]) is same, name
    assert torch.equal(forecast(first.network), forecast(second.network))


def test_one_name_with_two_prefixes_is_refused(network, tmp_path):
    state = add_prefix(network.state_dict(), "model.") | add_prefix(network.state_dict(), "module.")
    with pytest.raises(ArtifactError, match=r"holds 'static.embedding.real_weight' twice"):
        convert(save_weights(state, tmp_path), sizes=SIZES)


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"of an unknown network; its tensors are 'weight', 'bias'"):
        convert(save_weights(torch.nn.Linear(2, 3).state_dict(), tmp_path))
    with pytest.raises(ArtifactError, match=r"lacks tensor 'after_recurrence.norm.weight'"):
        convert(save_weights(torch.nn.Linear(2, 3).state_dict(), tmp_path), kind="native")
    with pytest.raises(ConfigError, match=r"from cannot be 'nvida'\nHint: did you mean 'nvidia'"):
        convert(save_weights({}, tmp_path), kind="nvida")
    with pytest.raises(ArtifactError, match=r"holds no tensors"):
        convert(save_weights({"epoch": 3}, tmp_path))


def test_a_distribution_of_fusecast_is_converted_unchanged(tmp_path):
    torch.manual_seed(5)
    config = replace(CONFIG, head="student_t")
    network = TemporalFusionTransformer(config).eval()
    path = save_weights(network.state_dict(), tmp_path)
    converted = convert(path, sizes={**SIZES, "head": "student_t"}).network
    torch.testing.assert_close(forecast(converted, config), forecast(network, config))


def test_old_weights_of_quantiles_cannot_become_a_distribution(tmp_path):
    path = save_weights({"quantile_proj.weight": torch.zeros(3, 8)}, tmp_path)
    with pytest.raises(ConfigError, match=r"forecast quantiles, so that the head cannot be 'normal'\nHint: leave"):
        infer_config(read_weights(path), {}, {"head": "normal", "horizon": 3, "lookback": 5})
