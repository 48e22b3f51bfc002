from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.disks import kill_in, small_disk
from tests.helpers.training_fixtures import World

from fusecast._version import __version__
from fusecast.errors import ArtifactError
from fusecast.inference.model_bundle import Bundle, Member, load_bundle, save_bundle
from fusecast.interop.conversion import convert
from fusecast.io import atomic
from fusecast.io.atomic import compute_checksum
from fusecast.model.tft import TemporalFusionTransformer


@pytest.fixture
def network(world: World) -> TemporalFusionTransformer:
    return TemporalFusionTransformer(world.model)


@pytest.fixture
def folder(world: World, network: TemporalFusionTransformer, tmp_path: Path) -> Path:
    extra, arrays = {"name": "wave", "numbers": [1, 2]}, {"spread": np.arange(3.0)}
    save_bundle(tmp_path / "bundle", alone(network), world.preprocessor, extra, arrays=arrays)
    return tmp_path / "bundle"


def alone(network: TemporalFusionTransformer) -> list[Member]:
    return [Member(network, "none")]


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    config["sha256"].pop("config.json", None)  # as in bundles of earlier versions: what is behind it is to be reached
    path.write_text(json.dumps(config))


def rewrite_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file(weights, folder / "model.safetensors")
    sums = json.loads((folder / "config.json").read_text())["sha256"]
    content = (folder / "model.safetensors").read_bytes()
    edit_config(folder, sha256={**sums, "model.safetensors": compute_checksum(content)})


def test_a_loaded_bundle_equals_the_saved_one(folder: Path, network: TemporalFusionTransformer, world: World) -> None:
    bundle = load_bundle(folder)
    assert bundle.members[0].network.config == world.model
    assert all(
        torch.equal(bundle.members[0].network.state_dict()[name], tensor)
        for name, tensor in network.state_dict().items()
    )
    assert bundle.preprocessor.to_json() == world.preprocessor.to_json()
    assert bundle.extra == {"name": "wave", "numbers": [1, 2]}
    assert bundle.arrays["spread"].tolist() == [0.0, 1.0, 2.0]
    assert bundle.version == __version__
    assert not bundle.members[0].network.training
    files = ["arrays.safetensors", "config.json", "model.safetensors", "preprocessor.json"]
    assert sorted(path.name for path in folder.iterdir()) == files


def test_a_bundle_is_replaced_and_its_neighbours_stay(folder: Path, world: World) -> None:
    (folder / "history.csv").write_text("epoch\n")
    other = TemporalFusionTransformer(world.model)
    save_bundle(folder, alone(other), world.preprocessor)
    assert torch.equal(load_bundle(folder).members[0].network.head.projection.weight, other.head.projection.weight)
    assert not (folder / "arrays.safetensors").exists()
    assert (folder / "history.csv").read_text() == "epoch\n"


@pytest.mark.parametrize("at_rename", range(5))
def test_a_bundle_that_replaces_another_is_the_old_or_the_new_one_wherever_the_process_is_killed(
    at_rename: int, folder: Path, network: TemporalFusionTransformer, world: World
) -> None:
    other, more = TemporalFusionTransformer(world.model), {"run.yaml": b"new"}
    (folder / "run.yaml").write_bytes(b"old")
    save = partial(save_bundle, folder, alone(other), world.preprocessor, more=more)
    assert kill_in(save, at_rename=at_rename) == (at_rename < 4)
    expected = network if at_rename == 0 else other
    for _ in range(2):  # what was left undone is done by the first, before a later process removes left files
        weight = load_bundle(folder).members[0].network.head.projection.weight
        assert torch.equal(weight, expected.head.projection.weight)
        assert (folder / "run.yaml").read_bytes() == (b"old" if expected is network else b"new")
        atomic._remove_leftovers.cache_clear()
        atomic.write_text_atomically(folder / "metrics.json", "{}")


def test_a_bundle_stays_whole_on_a_full_disk(folder: Path, network: TemporalFusionTransformer, world: World) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    with small_disk(folder.parent / "disk", 2 * size // 1024) as disk:
        save_bundle(disk, alone(network), world.preprocessor)
        with pytest.raises(ArtifactError, match="cannot be written: No space left on device"):
            save_bundle(disk, alone(TemporalFusionTransformer(world.model)), world.preprocessor, {"notes": "x" * size})
        assert torch.equal(load_bundle(disk).members[0].network.head.projection.weight, network.head.projection.weight)
        assert len(list(disk.iterdir())) == 3


@pytest.mark.parametrize("name", ["config.json", "preprocessor.json", "model.safetensors", "arrays.safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
def test_a_truncated_file_is_refused(folder: Path, name: str, kept: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ArtifactError, match=rf"{name} cannot be read"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor.json", "model.safetensors", "arrays.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} does not exist"):
        load_bundle(folder)


def test_files_of_two_saves_are_not_mixed(folder: Path, world: World, tmp_path: Path) -> None:
    save_bundle(tmp_path / "other", alone(TemporalFusionTransformer(world.model)), world.preprocessor)
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model.safetensors .*not the file that config.json was written for"):
        load_bundle(folder)


def test_a_bundle_of_a_newer_format_is_refused(folder: Path) -> None:
    edit_config(folder, format=99)
    with pytest.raises(ArtifactError, match=r"format 99, and this version .* reads formats up to 3\nHint: update"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"format": 1}', '{"format": "one"}', '{"hidden_size": 8}', "\x00\x01"]
)
def test_a_foreign_config_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"config.json"):
        load_bundle(folder)


@pytest.mark.parametrize("change", [{"hidden_size": 0}, {"depth": 3}, {"hidden_size": "wide"}])
def test_an_impossible_network_is_refused(folder: Path, change: dict[str, Any]) -> None:
    edit_config(folder, model={**json.loads((folder / "config.json").read_text())["model"], **change})
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_bundle(folder)


def test_tensors_that_do_not_fit_the_network_are_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "head.projection.bias"
    rewrite_weights(folder, {**weights, name: torch.zeros(99)})
    with pytest.raises(ArtifactError, match=rf"of another shape: '{name}'"):
        load_bundle(folder)
    rewrite_weights(folder, {"surplus": torch.zeros(1), **{key: weights[key] for key in weights if key != name}})
    with pytest.raises(ArtifactError, match=rf"missing: '{name}'; unexpected: 'surplus'"):
        load_bundle(folder)


def test_its_text_has_the_sizes_of_the_network(folder: Path) -> None:
    assert repr(load_bundle(folder)) == "Bundle(lookback=12, horizon=4, head='quantile')"


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 10**9, "num_heads": 1},
        {"num_lstm_layers": 10**9},
        {"known_reals": 10**12},
        {"known_categories": [10**12]},
        {"num_targets": 10**9, "observed_reals": 10**9},
    ],
)
def test_no_network_is_built_for_sizes_that_the_weights_do_not_have(folder: Path, change: dict[str, Any]) -> None:
    edit_config(folder, model={**json.loads((folder / "config.json").read_text())["model"], **change})
    with pytest.raises(ArtifactError, match=r"of the sizes stated with it has at least|other inputs than the network"):
        load_bundle(folder)


def test_a_network_larger_than_its_file_is_refused_before_it_is_built(folder: Path) -> None:
    sizes = {**json.loads((folder / "config.json").read_text())["model"], "hidden_size": 10**9, "num_heads": 1}
    edit_config(folder, model=sizes)
    with pytest.raises(ArtifactError, match=r"model.safetensors holds [\d,]+ numbers, and a network of the sizes"):
        load_bundle(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_neither_loaded_nor_saved(folder: Path, value: float, world: World) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["head.projection.bias"][0] = value
    rewrite_weights(folder, weights)
    with pytest.raises(ArtifactError, match=r"NaN or infinite: 'head.projection.bias'"):
        load_bundle(folder)
    network = TemporalFusionTransformer(world.model)
    network.load_state_dict(weights)
    before = (folder / "config.json").read_bytes()
    with pytest.raises(ArtifactError, match="NaN or infinite"):
        save_bundle(folder, alone(network), world.preprocessor)
    assert (folder / "config.json").read_bytes() == before


def test_a_changed_value_in_the_config_is_noticed_and_an_older_one_has_no_checksum(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"wave"', '"wavy"'))
    with pytest.raises(ArtifactError, match=r"config.json cannot be read: its values are not those that were written"):
        load_bundle(folder)
    edit_config(folder)
    assert load_bundle(folder).extra["name"] == "wavy"


@pytest.mark.parametrize(
    "changes",
    [{"sha256": {"a": 1}}, {"model": []}, {"extra": None}, {"fusecast": 3}, {"format": True}, {"format": "1"}],
)
def test_a_config_of_other_types_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ArtifactError, match=r"config.json"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor.json", "model.safetensors", "arrays.safetensors"])
def test_what_is_no_file_is_called_what_it_is(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(ArtifactError, match=rf"{name} cannot be read: it is a folder"):
        load_bundle(folder)
    (folder / name).rmdir()
    os.mkfifo(folder / name)
    with pytest.raises(ArtifactError, match=rf"{name} cannot be read: it is a pipe"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "arrays.safetensors"])
def test_a_file_of_tensors_is_not_read_where_it_is_larger_than_they_are(folder: Path, name: str) -> None:
    os.truncate(folder / name, 2**40)
    with pytest.raises(ArtifactError, match=r"it has 1,099,511,627,776 bytes, and its tensors at most"):
        load_bundle(folder)


@pytest.fixture
def ensemble(world: World, tmp_path: Path) -> tuple[Path, list[Member]]:
    members = [Member(TemporalFusionTransformer(world.model), scaling) for scaling in ("mean", "none", "last")]
    save_bundle(tmp_path / "ensemble", members, world.preprocessor, {"name": "three"})
    return tmp_path / "ensemble", members


def assert_same_members(loaded: Sequence[Member], saved: Sequence[Member]) -> None:
    for one, other in zip(loaded, saved, strict=True):
        assert one.window_scaling == other.window_scaling
        state = one.network.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in other.network.state_dict().items())


def test_a_bundle_of_several_networks_has_each_of_them_with_its_scaling(ensemble: Any, world: World) -> None:
    folder, members = ensemble
    bundle = load_bundle(folder)
    assert_same_members(bundle.members, members)
    assert json.loads((folder / "config.json").read_text())["format"] == 2
    assert bundle.extra == {"name": "three"}
    assert repr(bundle) == "Bundle(lookback=12, horizon=4, head='quantile', members=3)"
    save_bundle(folder, members[:1], world.preprocessor)  # scaled in another way than the preprocessor says
    assert_same_members(load_bundle(folder).members, members[:1])


def test_one_network_is_written_as_it_always_was_and_the_files_of_more_are_removed(
    ensemble: Any, network: TemporalFusionTransformer, world: World
) -> None:
    folder, members = ensemble
    (folder / "model-old.safetensors").touch()
    save_bundle(folder, members[:2], world.preprocessor)
    names = {path.name for path in folder.iterdir()} - {"config.json", "preprocessor.json", "model-old.safetensors"}
    assert names == {"model.safetensors", "model-2.safetensors"}
    save_bundle(folder, alone(network), world.preprocessor)
    config = json.loads((folder / "config.json").read_text())
    assert (config["format"], list(config)) == (1, ["format", "fusecast", "model", "sha256", "extra"])
    assert not (folder / "model-2.safetensors").exists()
    assert_same_members(load_bundle(folder).members, alone(network))


@pytest.mark.parametrize("at_rename", [0, 1, 4])
def test_a_bundle_of_several_networks_is_the_old_or_the_new_one_wherever_the_process_is_killed(
    at_rename: int, ensemble: Any, world: World
) -> None:
    folder, members = ensemble
    others = [Member(TemporalFusionTransformer(world.model), "none") for _ in range(3)]
    assert kill_in(lambda: save_bundle(folder, others, world.preprocessor), at_rename=at_rename)
    assert_same_members(load_bundle(folder).members, others if at_rename else members)


def test_damage_to_the_second_network_is_noticed(ensemble: Any) -> None:
    folder, _ = ensemble
    content = (folder / "model-2.safetensors").read_bytes()
    (folder / "model-2.safetensors").write_bytes(content[:-4] + b"0000")
    with pytest.raises(ArtifactError, match=r"model-2.safetensors .*not the file that config.json was written for"):
        load_bundle(folder)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"model-2.safetensors does not exist"):
        load_bundle(folder)


@pytest.mark.parametrize("members", [[], [3], [{}], [{"window_scaling": "log"}], [{"window_scaling": 1}], "mean", None])
def test_members_that_are_none_are_refused(ensemble: Any, members: Any) -> None:
    folder, _ = ensemble
    edit_config(folder, members=members)
    with pytest.raises(ArtifactError, match=r"config.json cannot be read"):
        load_bundle(folder)


def test_each_network_of_a_bundle_can_be_migrated(ensemble: Any, tmp_path: Path) -> None:
    folder, members = ensemble
    config = json.loads((folder / "config.json").read_text())
    for name, member in zip(("model.safetensors", "model-2.safetensors"), members, strict=False):
        migration = convert(folder / name, tmp_path / f"{name}.ckpt", config=config)
        assert_same_members([Member(migration.network, member.window_scaling)], [member])


@pytest.fixture
def with_final(folder: Path, network: TemporalFusionTransformer, world: World) -> tuple[Path, Bundle]:
    """A folder with final networks, two of them, and what was saved."""
    final = Bundle(members=a_pair(world), preprocessor=world.preprocessor, extra={"kind": "refit"})
    save_bundle(folder, alone(network), world.preprocessor, {"name": "wave"}, final=final)
    return folder, final


def a_pair(world: World) -> tuple[Member, ...]:
    return tuple(Member(TemporalFusionTransformer(world.model), scaling) for scaling in ("mean", "last"))


def test_final_networks_are_loaded_with_the_judged_ones(with_final: tuple[Path, Bundle], world: World) -> None:
    folder, final = with_final
    bundle = load_bundle(folder)
    assert bundle.final is not None
    assert bundle.for_future is bundle.final
    assert bundle.final.for_future is bundle.final
    assert_same_members(bundle.final.members, final.members)
    assert bundle.final.extra == {"kind": "refit"}
    assert len(bundle.members) == 1
    assert json.loads((folder / "config.json").read_text())["format"] == 3
    assert repr(bundle).endswith("with final networks)")
    replaced = Bundle(members=final.members[:1], preprocessor=world.preprocessor)
    save_bundle(folder, bundle.members, world.preprocessor, final=replaced)
    assert not (folder / "final" / "model-2.safetensors").exists()
    assert load_bundle(folder).final.members[0].window_scaling == "mean"  # type: ignore[union-attr]


def test_without_final_networks_the_files_are_those_of_before_and_old_ones_go(
    with_final: tuple[Path, Bundle], network: TemporalFusionTransformer, world: World, tmp_path: Path
) -> None:
    folder, _ = with_final
    (folder / "final" / "history.csv").write_text("epoch\n")
    for place in (folder, tmp_path / "fresh"):
        save_bundle(place, alone(network), world.preprocessor, {"name": "wave"})
    assert json.loads((folder / "config.json").read_text())["format"] == 1
    for name in ("config.json", "preprocessor.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert [path.name for path in (folder / "final").iterdir()] == ["history.csv"]
    assert load_bundle(folder).final is None
    assert load_bundle(folder).for_future.members[0].network.config == world.model
    (folder / "final" / "config.json").write_text("of another run, in a folder of this name")
    save_bundle(folder, alone(network), world.preprocessor, {"name": "wave"})
    assert (folder / "final" / "config.json").exists()


@pytest.mark.parametrize("had_final", [True, False])
def test_both_sets_are_of_one_save_wherever_the_process_is_killed(
    had_final: bool, with_final: tuple[Path, Bundle], world: World
) -> None:
    folder, old = with_final
    if not had_final:
        save_bundle(folder, load_bundle(folder).members, world.preprocessor)
    before = load_bundle(folder).members
    for at_rename in range(7):
        final = Bundle(members=a_pair(world), preprocessor=world.preprocessor)
        members = alone(TemporalFusionTransformer(world.model))
        save = partial(save_bundle, folder, members, world.preprocessor, final=final)
        assert kill_in(save, at_rename=at_rename)
        loaded = load_bundle(folder)
        assert_same_members(loaded.members, members if at_rename else before)
        if at_rename or had_final:
            assert_same_members(loaded.final.members, (final if at_rename else old).members)  # type: ignore[union-attr]
        else:
            assert loaded.final is None


@pytest.mark.parametrize("name", ["config.json", "preprocessor.json", "model.safetensors", "model-2.safetensors"])
def test_final_networks_that_are_missing_or_damaged_or_of_another_save_are_refused(
    name: str, with_final: tuple[Path, Bundle], network: TemporalFusionTransformer, world: World, tmp_path: Path
) -> None:
    folder, final = with_final
    path = folder / "final" / name
    content = path.read_bytes()
    other = replace(final, members=a_pair(world), extra={"kind": "finetune"})
    save_bundle(tmp_path / "other", alone(network), world.preprocessor, {"name": "other"}, final=other)
    path.unlink()
    with pytest.raises(ArtifactError, match=rf"final/{name} does not exist"):
        load_bundle(folder)
    if name != "preprocessor.json":  # the same in both
        path.write_bytes((tmp_path / "other" / "final" / name).read_bytes())
        with pytest.raises(
            ArtifactError, match=rf"final/{name} cannot be read: it is not the file that .*was written for"
        ):
            load_bundle(folder)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=rf"final/{name} cannot be read"):
        load_bundle(folder)
    path.write_bytes(content)
    load_bundle(folder)
    shutil.rmtree(folder / "final")
    with pytest.raises(ArtifactError, match=r"final/config.json does not exist"):
        load_bundle(folder)


def test_a_bundle_with_final_networks_in_those_of_another_is_refused(with_final: tuple[Path, Bundle]) -> None:
    folder, _ = with_final
    nested = shutil.copytree(folder, folder.parent / "nested")
    shutil.rmtree(folder / "final")
    nested.rename(folder / "final")
    config = json.loads((folder / "config.json").read_text())
    edit_config(folder, final=compute_checksum((folder / "final" / "config.json").read_bytes()))
    assert config["format"] == 3
    with pytest.raises(ArtifactError, match="final networks have none of their own"):
        load_bundle(folder)
    edit_config(folder, final=3)
    with pytest.raises(ArtifactError, match=r"config.json cannot be read: 'final' must be a text"):
        load_bundle(folder)
