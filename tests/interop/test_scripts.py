"""State dicts of the training script's module, or of its bare network, can be loaded into it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.errors import ConfigError
from fusecast.interop import convert


def build_module(output_size: int) -> TemporalFusionTransformerLightning:
    torch.manual_seed(0)
    module = TemporalFusionTransformerLightning(
        input_size=4, hidden_size=8, num_heads=2, num_lstm_layers=2, output_size=output_size, seed=1
    )
    module.center.copy_(torch.tensor([1.0, -2.0, 3.0, 0.5]))
    module.target_scale.fill_(7.0)
    return module.eval()


def forecast(module: torch.nn.Module) -> torch.Tensor:
    x = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return module(x)


def convert_and_load(old: Path) -> torch.nn.Module:
    written = convert(old, old.with_name("new.ckpt")).path
    return TemporalFusionTransformerLightning.load_from_checkpoint(written).eval()


@pytest.mark.parametrize("output_size", [1, 4, 6])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_a_state_dict_of_the_module_needs_no_description(prefix, output_size, tmp_path):
    module = build_module(output_size)
    state = {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items()}
    torch.save(state, tmp_path / "old.pth")
    loaded = convert_and_load(tmp_path / "old.pth")
    assert torch.equal(forecast(loaded), forecast(module))
    assert (loaded.hparams["input_size"], loaded.hparams["num_heads"], loaded.hparams["num_lstm_layers"]) == (4, 2, 2)


def test_the_training_options_of_a_checkpoint_are_kept(tmp_path):
    module = build_module(4)
    module.hparams["learning_rate"] = 0.25
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, tmp_path / "old.ckpt")
    assert convert_and_load(tmp_path / "old.ckpt").hparams["learning_rate"] == 0.25


def test_a_bare_network_takes_inputs_that_are_not_standardised(tmp_path):
    module = build_module(4)
    torch.save(module.network.state_dict(), tmp_path / "old.pth")
    migration = convert(tmp_path / "old.pth", kind="scripts")
    assert any("no statistics" in note for note in migration.notes)
    for name in ("center", "target_center"):
        module.get_buffer(name).zero_()
    module.target_scale.fill_(1.0)
    assert torch.equal(forecast(migration.module), forecast(module))


def test_an_option_that_the_module_does_not_have_is_refused(tmp_path):
    torch.save(build_module(1).state_dict(), tmp_path / "old.pth")
    with pytest.raises(ConfigError, match=r"there is no option 'horizon'"):
        convert(tmp_path / "old.pth", sizes={"horizon": 3})
