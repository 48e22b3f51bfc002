"""load_from_checkpoint as Lightning documents it, and what training and testing take from a checkpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from tests.helpers.quiet_trainer import trainer
from tests.helpers.tables import two_waves

from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.errors import ArtifactError, ConfigError, TrainingError
from fusecast.interop import convert
from fusecast.training.lightning_module import TFTModule

pytestmark = pytest.mark.filterwarnings(  # advice of Lightning on trainers, and its own calls of torch
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval"
)  # fmt: skip

Module = TemporalFusionTransformerLightning
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


def module(hidden_size: int = 4) -> Module:
    torch.manual_seed(0)
    return Module(2, hidden_size=hidden_size, num_heads=2, dropout=0.3, seed=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the checkpoint of a trainer that has not trained."""
    fresh = trainer(tmp_path)
    fresh.strategy.connect(module())
    fresh.save_checkpoint(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


class WithHead(Module):
    """A user's subclass with a layer and an argument of its own, and state of its own in checkpoints."""

    def __init__(self, input_size: int, width: int = 3, **options: Any) -> None:
        super().__init__(input_size, **options)
        self.extra = torch.nn.Linear(2, width)
        self.notes = ""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["notes"] = "kept"

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.notes = checkpoint.get("notes", "none")


def test_strict_false_loads_what_matches_and_names_the_rest(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not a checkpoint of a WithHead: .*Missing key.*extra\.weight"):
        WithHead.load_from_checkpoint(path)
    with pytest.warns(UserWarning, match=r"model\.ckpt lacks 'extra\.weight', 'extra\.bias'; strict=False"):
        loaded = WithHead.load_from_checkpoint(path, strict=False, width=5)
    assert loaded.extra.weight.shape == (5, 2)
    assert loaded.notes == "none"
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in module().state_dict().items())


def test_a_subclass_restores_what_it_saved(tmp_path: Path) -> None:
    fresh = trainer(tmp_path)
    fresh.strategy.connect(WithHead(2, hidden_size=4, num_heads=2))
    fresh.save_checkpoint(tmp_path / "own.ckpt")
    assert WithHead.load_from_checkpoint(tmp_path / "own.ckpt").notes == "kept"


def test_a_subclass_need_not_have_the_arguments_that_were_saved(path: Path) -> None:
    class Fixed(Module):
        def __init__(self, learning_rate: float = 0.1) -> None:
            super().__init__(2, hidden_size=4, num_heads=2, learning_rate=learning_rate)

    assert same(Fixed.load_from_checkpoint(path), module())
    with pytest.raises(ArtifactError, match="unexpected keyword argument 'learning_rat'"):
        Module.load_from_checkpoint(path, learning_rat=1.0)


@pytest.mark.parametrize(
    "place",
    [None, "cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage],
    ids=["none", "text", "device", "dict", "function"],
)
def test_map_location_is_all_that_torch_takes(path: Path, place: Any) -> None:
    loaded = Module.load_from_checkpoint(path, map_location=place)
    assert same(loaded, module())
    assert loaded.device.type == "cpu"


@without_cuda
@pytest.mark.parametrize("place", ["cuda", "cuda:1", torch.device("cuda"), 0])
def test_an_absent_device_is_named_with_those_there_are(path: Path, place: Any) -> None:
    with pytest.raises(ConfigError, match=r"device 'cuda(:\d)?' is not available on this machine\nHint: .*cpu"):
        Module.load_from_checkpoint(path, map_location=place)


@without_cuda
@pytest.mark.parametrize("place", [{"cpu": "cuda"}, lambda storage, location: storage.cuda()], ids=["dict", "function"])
def test_a_mapping_to_an_absent_device_does_not_blame_the_file(path: Path, place: Any) -> None:
    with pytest.raises(ConfigError, match=r"map_location .* leads to no device of this machine\nHint: .*cpu"):
        Module.load_from_checkpoint(path, map_location=place)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="cannot be read"):
        Module.load_from_checkpoint(path, map_location=place)


@pytest.mark.parametrize("name", ["old.pth", "old.pt", "old.ckpt", "old.safetensors"])
def test_a_plain_state_dict_points_to_migrate_which_makes_a_checkpoint_of_it(name: str, tmp_path: Path) -> None:
    old = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(module().state_dict(), old)
    with pytest.raises(ArtifactError, match=rf"`fusecast migrate {re.escape(str(old))} --to converted\.ckpt`"):
        Module.load_from_checkpoint(old)
    assert same(Module.load_from_checkpoint(convert(old, tmp_path / "new.ckpt").path), module())


def test_a_folder_is_called_one(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is a folder, not a checkpoint file\nHint: it holds 'model\.ckpt'"):
        Module.load_from_checkpoint(path.parent)


@pytest.mark.parametrize("options", [{"checkpoint_path": 3}, {"checkpoint_path": "x", "hparams_file": "hparams.yaml"}])
def test_arguments_that_cannot_be_used_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match=f"{list(options)[-1]} must be"):
        Module.load_from_checkpoint(**options)


def test_an_instance_cannot_load_a_checkpoint_in_place(path: Path) -> None:
    with pytest.raises(TypeError, match="make sure the return value is used"):
        module().load_from_checkpoint(path)


def test_converted_weights_are_tested_and_trained_anew_but_not_resumed(tmp_path: Path) -> None:
    train, valid, test = make_dataloaders(two_waves(), 6, 16)
    torch.save(module().state_dict(), tmp_path / "old.pth")
    converted = convert(tmp_path / "old.pth", tmp_path / "new.ckpt").path
    (tested,) = trainer(tmp_path).test(module(), test, ckpt_path=converted, weights_only=True, verbose=False)
    (expected,) = trainer(tmp_path).test(module(), test, verbose=False)
    assert tested == expected
    with pytest.raises(
        TrainingError, match=r"resumed from .*new\.ckpt: it holds no state .*\nHint: to train its weights"
    ):
        trainer(tmp_path).fit(module(), train, valid, ckpt_path=converted, weights_only=True)
    loaded = Module.load_from_checkpoint(converted)
    trainer(tmp_path).fit(loaded, train, valid)
    assert not same(loaded, module())


class Foreign(pl.LightningModule):
    """A module that is none of fusecast."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_training_is_not_resumed_from_a_checkpoint_of_another_module(tmp_path: Path) -> None:
    train, valid, _ = make_dataloaders(two_waves(), 6, 16)
    fresh = trainer(tmp_path)
    fresh.strategy.connect(Foreign())
    fresh.save_checkpoint(tmp_path / "foreign.ckpt")
    with pytest.raises(
        TrainingError, match=r"resumed from .*foreign\.ckpt: it holds no state of a training by fusecast"
    ):
        trainer(tmp_path).fit(module(), train, valid, ckpt_path=tmp_path / "foreign.ckpt", weights_only=True)
    with pytest.raises(ArtifactError, match=r"foreign\.ckpt is no checkpoint of a module"):
        Module.load_from_checkpoint(tmp_path / "foreign.ckpt")
    with pytest.raises(ArtifactError, match="not a checkpoint of a TFTModule"):
        TFTModule.load_from_checkpoint(fresh_checkpoint(tmp_path))


def fresh_checkpoint(folder: Path) -> Path:
    fresh = trainer(folder)
    fresh.strategy.connect(module())
    fresh.save_checkpoint(folder / "script.ckpt")
    return folder / "script.ckpt"
