from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from fusecast.errors import ArtifactError
from fusecast.io.atomic import replacing
from fusecast.training.checkpoints import AtomicCheckpointIO, load_checkpoint
from fusecast.training.lightning_module import TFTModule


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


def write_trap(path: Path, sprung: Path, form: str) -> None:
    content = {"state_dict": {"x": torch.zeros(2)}, "trap": Trap(sprung)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_a_booby_trapped_checkpoint_is_refused_and_nothing_in_it_is_executed(
    tmp_path: Path, sprung: Path, form: str
) -> None:
    path = tmp_path / "trap.ckpt"
    write_trap(path, sprung, form)
    # torch does not get as far as the trap in a pickle that it has not written
    reason = "cannot be read" if form == "bare pickle" else r"is refused: it holds (posix|nt)\.mkdir"
    with pytest.raises(ArtifactError, match=rf"trap.ckpt {reason}"):
        load_checkpoint(path)
    assert not sprung.exists()


def test_the_trap_does_spring_where_pickles_are_trusted(tmp_path: Path, sprung: Path) -> None:
    path = tmp_path / "trap.ckpt"
    write_trap(path, sprung, "zip")
    torch.load(path, weights_only=False)
    assert sprung.exists()


def test_lightning_cannot_be_made_to_trust_a_pickle(tmp_path: Path, sprung: Path) -> None:
    path = tmp_path / "trap.ckpt"
    write_trap(path, sprung, "zip")
    with pytest.raises(ArtifactError, match="refused"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not sprung.exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint_is_refused_in_words(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"x": torch.zeros(1000)}}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ArtifactError, match=r"last.ckpt cannot be read: .+\nHint: it is truncated"):
        load_checkpoint(path)


def test_a_foreign_or_missing_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("ds,y\n1,2\n")
    with pytest.raises(ArtifactError, match=r"table.csv cannot be read"):
        load_checkpoint(tmp_path / "table.csv")
    with pytest.raises(ArtifactError, match=r"absent.ckpt does not exist"):
        load_checkpoint(tmp_path / "absent.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ArtifactError, match="holds a list"):
        load_checkpoint(tmp_path / "list.ckpt")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"step": lambda: None}, path)
    assert load_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"


def test_a_module_is_not_made_from_a_trap(tmp_path: Path, sprung: Path) -> None:
    path = tmp_path / "trap.ckpt"
    write_trap(path, sprung, "zip")
    with pytest.raises(ArtifactError, match=r"is refused: it holds (posix|nt)\.mkdir"):
        TFTModule.load_from_checkpoint(path, weights_only=False)
    assert not sprung.exists()


def test_a_checkpoint_of_another_kind_of_network_is_refused_in_words(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"width": 3}}, tmp_path / "other.ckpt")
    with pytest.raises(ArtifactError, match=r"other\.ckpt is no checkpoint of a TFTModule"):
        TFTModule.load_from_checkpoint(tmp_path / "other.ckpt")
