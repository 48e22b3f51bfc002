"""Read state dicts: nothing in a file is executed, whatever it holds."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch

from fusecast.errors import ArtifactError
from fusecast.interop import convert


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.sprung), 0o700)


@pytest.mark.parametrize("kind", ["auto", "native", "scripts", "nvidia", "pytorch-forecasting"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda trap: trap,
        lambda trap: {"state_dict": {"weight": torch.zeros(2), "trap": trap}},
        lambda trap: {"state_dict": {"weight": torch.zeros(2)}, "hyper_parameters": {"loss": trap}},
    ],
    ids=["alone", "among the tensors", "in the hyper-parameters"],
)
def test_code_in_a_file_is_refused_and_not_executed(wrap, kind, tmp_path):
    torch.save(wrap(Trap(tmp_path / "sprung")), tmp_path / "old.pth")
    with pytest.raises(
        ArtifactError, match=r"is refused: it holds (.|\n)*nothing in it was executed(.|\n)*docs/migrate.md"
    ):
        convert(tmp_path / "old.pth", tmp_path / "new.ckpt", kind=kind, partial=True)
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "new.ckpt").exists()


def test_the_code_would_be_executed_where_files_are_trusted(tmp_path):
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "old.pth")
    torch.load(tmp_path / "old.pth", weights_only=False)
    assert (tmp_path / "sprung").exists()


def test_code_in_a_plain_pickle_is_not_executed(tmp_path):
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ArtifactError):
        convert(tmp_path / "old.pth")
    assert not (tmp_path / "sprung").exists()


def test_harmless_objects_are_refused_by_name(tmp_path):
    torch.save({"model": {"weight": torch.zeros(2)}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "checkpoint.pt")
    with pytest.raises(ArtifactError, match=r"it holds argparse.Namespace"):
        convert(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("name", ["old.pth", "old.safetensors"])
def test_missing_and_truncated_files_have_errors_of_their_own(name, tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        convert(tmp_path / name)
    torch.save({"weight": torch.zeros(100)}, tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:300])
    with pytest.raises(ArtifactError, match="cannot be read"):
        convert(tmp_path / name)
