"""Checkpoints are written atomically and loaded safely, and the newest intact one is resumed from."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.training_fixtures import Train, same_weights

from fusecast.errors import ArtifactError, TrainingError
from fusecast.io.atomic import replace_file
from fusecast.training.checkpoints import (
    AtomicCheckpointIO,
    choose_checkpoint,
    load_checkpoint,
    newest_checkpoint,
)
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


def flip_bit(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def flip_weight(path: Path) -> None:
    """Flip a bit in the largest tensor of a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size if "/data/" in part.filename else 0)
    flip_bit(path, 8 * (largest.header_offset + 500))


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    content = {"x": torch.arange(600.0), "y": torch.zeros(30, dtype=torch.int64), "plain": [1.5, "words", None]}
    torch.save(content, path)
    bits = 8 * path.stat().st_size
    directory = 8 * zipfile.ZipFile(path).start_dir
    refused = []
    chosen = np.random.default_rng(0).integers(0, bits, 400).tolist()
    chosen += np.random.default_rng(1).integers(directory, bits, 400).tolist()
    for bit in chosen:
        flip_bit(path, bit)
        try:
            loaded = load_checkpoint(path)
        except ArtifactError as error:
            refused.append(str(error))
        else:
            assert torch.equal(loaded["x"], content["x"]), bit
            assert torch.equal(loaded["y"], content["y"]), bit
            assert loaded["plain"] == content["plain"], bit
        flip_bit(path, bit)
    assert len(refused) > 300
    assert sum("Bad CRC-32 for file 'last/data/0'" in text for text in refused) > 100
    assert all(re.match(r".*last\.ckpt (cannot be read: .+|does not exist)\nHint: ", text) for text in refused)


def write_zip(path: Path, data: bytes = b"", **options: Any) -> zipfile.ZipFile:
    """Write an archive as torch does, with this pickle or an ordinary one, and with a large tensor."""
    torch.save({"state_dict": {"x": torch.zeros(1_000_000)}}, path)
    parts = {}
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    archive = zipfile.ZipFile(path, "w", **options)
    for name, content in parts.items():
        archive.writestr(name, data if data and name.endswith("data.pkl") else content)
    return archive


def write_compressed(path: Path) -> None:
    write_zip(path, compression=zipfile.ZIP_DEFLATED).close()


def write_overlapping(path: Path) -> None:
    archive = write_zip(path)
    (large,) = (part for part in archive.filelist if part.filename.endswith("/data/0"))
    for number in range(1, 3000):  # 12 GB of 4 MB
        part = copy(large)
        part.filename = large.filename[:-1] + str(number)
        archive.filelist.append(part)
    archive.close()


class Allocation:
    """Takes memory when it is unpickled."""

    def __reduce__(self) -> Any:
        return bytearray, (8 * 10**9,)


def write_allocating(path: Path) -> None:
    write_zip(path, pickle.dumps({"state_dict": Allocation()}, protocol=2)).close()


def write_allocating_legacy(path: Path) -> None:
    torch.save({"state_dict": Allocation()}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [write_compressed, write_overlapping, write_allocating, write_allocating_legacy])
def test_a_file_that_would_grow_in_memory_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "bomb.ckpt"
    write(path)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch must not read it"))
    with pytest.raises(ArtifactError, match=r"bomb\.ckpt cannot be read: its? .+, and w(as|ere) not"):
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
    with replace_file(path) as temporary:
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
    with pytest.raises(ArtifactError, match=r"other\.ckpt is not a checkpoint of a TFTModule"):
        TFTModule.load_from_checkpoint(tmp_path / "other.ckpt")


def test_a_checkpoint_needs_nothing_but_its_path(train: Train) -> None:
    result = train()
    module = TFTModule.load_from_checkpoint(result.checkpoint, weights_only=True)
    assert all(
        torch.equal(tensor, result.network.state_dict()[name]) for name, tensor in module.network.state_dict().items()
    )
    assert module.learning_rate == 1e-3


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("[enforce fail] unexpected pos 64 vs 0")]
)
def test_a_checkpoint_that_cannot_be_written_is_an_error_in_words(
    error: Exception, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ArtifactError, match=r"ckpt cannot be written: .*\nHint: free disk space"):
        train()


def write_checkpoint(path: Path, saved: float) -> Path:
    torch.save({"saved": saved, "loops": {}, "state_dict": {"x": torch.zeros(500)}}, path)
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def test_the_newest_is_found_by_the_time_that_it_holds_not_by_the_date_of_the_file(tmp_path: Path) -> None:
    older, newer = write_checkpoint(tmp_path / "last.ckpt", 1.0), write_checkpoint(tmp_path / "previous.ckpt", 2.0)
    os.utime(older, (10, 10))
    os.utime(newer, (5, 5))
    assert newest_checkpoint(tmp_path) == (newer, [])


def test_of_two_equally_new_the_last_is_taken(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "tft-epoch=00.ckpt", 1.0)
    last = write_checkpoint(tmp_path / "last.ckpt", 1.0)
    assert newest_checkpoint(tmp_path) == (last, [])


def test_a_truncated_file_is_passed_over_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, last = write_checkpoint(tmp_path / "previous.ckpt", 1.0), write_checkpoint(tmp_path / "last.ckpt", 2.0)
    truncate(last)
    for requested in (tmp_path, last):
        assert choose_checkpoint(requested, tmp_path / "folder") == before
        printed = capsys.readouterr().err
        assert re.search(r"last\.ckpt cannot be read: .*Going on from .*previous\.ckpt instead\.\n", printed)


def test_an_intact_file_is_taken_though_others_are_newer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = write_checkpoint(tmp_path / "previous.ckpt", 1.0)
    write_checkpoint(tmp_path / "last.ckpt", 2.0)
    assert choose_checkpoint(older, tmp_path) == older
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("exists", [False, True])
def test_the_folder_of_a_run_without_checkpoints_is_a_start_from_the_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exists: bool
) -> None:
    folder = tmp_path / "checkpoints"
    if exists:
        folder.mkdir()
    assert newest_checkpoint(folder) == (None, [])
    assert choose_checkpoint(folder, folder) is None
    assert "holds no checkpoint yet: training starts from the beginning" in capsys.readouterr().err


def test_another_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"checkpoint does not exist"):
        choose_checkpoint(tmp_path / "checkpoint", tmp_path / "checkpoints")
    (tmp_path / "table.csv").write_text("ds,y\n1,2\n")
    with pytest.raises(ArtifactError, match=r"table.csv cannot be read"):
        choose_checkpoint(tmp_path / "table.csv", tmp_path / "checkpoints")


def test_a_folder_with_nothing_but_truncated_files_is_an_error(tmp_path: Path) -> None:
    truncate(write_checkpoint(tmp_path / "last.ckpt", 2.0))
    for requested in (tmp_path, tmp_path / "last.ckpt"):
        with pytest.raises(TrainingError, match=r"no checkpoint in it can be read: .*last\.ckpt"):
            choose_checkpoint(requested, tmp_path)


def test_an_unsafe_file_is_never_passed_over_when_it_was_requested(tmp_path: Path, sprung: Path) -> None:
    before = write_checkpoint(tmp_path / "previous.ckpt", 1.0)
    write_trap(tmp_path / "last.ckpt", sprung, "zip")
    with pytest.raises(ArtifactError, match=r"is refused: it holds (posix|nt)\.mkdir"):
        choose_checkpoint(tmp_path / "last.ckpt", tmp_path)
    path, unreadable = newest_checkpoint(tmp_path)
    assert path == before
    assert len(unreadable) == 1
    assert not sprung.exists()


def spoil_weight(path: Path) -> None:
    content = load_checkpoint(path)
    content["state_dict"]["network.head.projection.bias"][0] = torch.nan
    torch.save(content, path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "cannot be read"),
        (flip_weight, "cannot be read"),
        (spoil_weight, "holds weights that are NaN or infinite: 'network.head.projection.bias'"),
    ],
)
def test_training_goes_on_from_the_checkpoint_before_a_damaged_one_with_a_line_on_stderr(
    train: Train,
    undisturbed: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    words: str,
) -> None:
    options = {"early_stopping_patience": None, "checkpoint_steps": 3}
    whole = undisturbed(max_epochs=3, **options)
    train(folder=tmp_path / "parts", max_epochs=2, **options)
    checkpoints = tmp_path / "parts" / "checkpoints"
    assert {"last.ckpt", "previous.ckpt"} <= {path.name for path in checkpoints.iterdir()}
    for path in checkpoints.glob("*"):
        if path.name != "previous.ckpt":
            damage(path)
    resumed = train(folder=tmp_path / "parts", max_epochs=3, resume=checkpoints, **options)
    assert same_weights(whole, resumed)
    printed = capsys.readouterr().err
    assert f"last.ckpt {words}" in printed
    assert "Going on from" in printed


@pytest.mark.parametrize("links", [True, False])
def test_last_ckpt_stays_until_the_next_one_takes_its_place(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    seen = []
    save = AtomicCheckpointIO.save_checkpoint

    def look_and_save(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Path, **rest: Any) -> None:
        if Path(path).name == "last.ckpt":
            seen.append(sorted(file.name for file in Path(path).parent.glob("*s*.ckpt")))
        save(self, checkpoint, path, **rest)

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", look_and_save)
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    train(max_epochs=3)
    names = ["last.ckpt", "previous.ckpt"] if links else ["previous.ckpt"]
    assert [[name for name in files if not name.startswith("tft")] for files in seen] == [[], names, names]
    steps = [
        load_checkpoint(tmp_path / "run" / "checkpoints" / name)["global_step"]
        for name in ("last.ckpt", "previous.ckpt")
    ]
    assert steps == [12, 8]


def test_damaged_best_weights_are_never_returned(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    flip_weight(train(max_epochs=2).checkpoint)
    with pytest.raises(TrainingError, match=r"best weights is missing or damaged\nHint: restore that file, or train"):
        train(max_epochs=2, resume=last)
    assert "ckpt cannot be read: Bad CRC-32" in capsys.readouterr().err
    result = train(max_epochs=3, resume=last)
    assert result.best_loss == result.history[2]["val_loss"]
    assert "ckpt cannot be read: Bad CRC-32" in capsys.readouterr().err


def lines_of_a_refusal(train: Train, **options: Any) -> str:
    with pytest.raises(TrainingError) as refused:
        train(**options)
    return str(refused.value)


def test_a_checkpoint_of_another_run_is_refused_and_nothing_is_lost(
    train: Train, undisturbed: Train, tmp_path: Path
) -> None:
    whole = undisturbed(max_epochs=3)
    train(max_epochs=2)
    train(folder=tmp_path / "again", max_epochs=2)
    train(folder=tmp_path / "seed", max_epochs=2, seed=1)
    checkpoints = tmp_path / "run" / "checkpoints"
    last = checkpoints / "last.ckpt"
    before = last.read_bytes()
    for other, reason in (
        (
            "again",
            r"again.checkpoints.last\.ckpt: it is of another run than folder .*run\nHint: resume in the folder of",
        ),
        ("seed", r"seed.checkpoints.last\.ckpt: seed was 1 and is 42"),
    ):
        foreign = tmp_path / other / "checkpoints" / "last.ckpt"
        assert re.search(reason, lines_of_a_refusal(train, resume=foreign, max_epochs=3))
        shutil.copy(foreign, last)
        assert "training cannot be resumed from" in lines_of_a_refusal(train, resume=checkpoints, max_epochs=3)
    last.write_bytes(before)
    assert same_weights(train(resume=checkpoints, max_epochs=3), whole)


def test_a_run_that_was_moved_or_copied_is_resumed_and_so_is_one_checkpoint_in_a_new_folder(
    train: Train, undisturbed: Train, tmp_path: Path
) -> None:
    whole = undisturbed(max_epochs=3)
    train(max_epochs=2)
    copied = Path(shutil.copytree(tmp_path / "run", tmp_path / "copy"))
    assert same_weights(train(folder=copied, resume=copied / "checkpoints", max_epochs=3), whole)
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    elsewhere = tmp_path / "elsewhere"
    assert same_weights(
        train(folder=elsewhere, resume=moved / "checkpoints" / "last.ckpt", max_epochs=3, early_stopping_patience=None),
        whole,
    )
    assert same_weights(train(folder=moved, resume=moved / "checkpoints", max_epochs=3), whole)
    train(folder=elsewhere, resume=elsewhere / "checkpoints", max_epochs=4)


def test_a_run_of_an_earlier_version_has_no_identity_and_is_resumed(train: Train, tmp_path: Path) -> None:
    whole = train(folder=tmp_path / "whole", max_epochs=3)
    train(max_epochs=2)
    identity = tmp_path / "run" / "run.id"
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        content = load_checkpoint(path)
        assert content.pop("run") == identity.read_text(encoding="utf-8")
        torch.save(content, path)
    identity.unlink()
    assert same_weights(train(resume=tmp_path / "run" / "checkpoints", max_epochs=3), whole)
    assert not identity.exists()
    foreign = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert "of another run" in lines_of_a_refusal(train, folder=tmp_path / "whole", resume=foreign, max_epochs=4)
    (tmp_path / "whole" / "run.id").unlink()  # as the message says
    train(folder=tmp_path / "whole", resume=foreign, max_epochs=4)


def test_checkpoints_of_an_earlier_version_are_read_by_the_names_of_their_parts(train: Train, tmp_path: Path) -> None:
    """Lightning finds the state of each callback and of the data under the name of its class: they keep their names."""
    train(max_epochs=1)
    content = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    names = {re.match(r"\w+", key)[0] for key in content["callbacks"]}
    assert names == {"History", "Limits", "EarlyStopping", "LearningRates", "MovableCheckpoint"}
    assert {"WindowDataModule", "epoch_loss", "saved", "hyper_parameters", "loops"} <= content.keys()
    best = next(key for key in content["callbacks"] if key.startswith("MovableCheckpoint"))
    assert best == (
        "MovableCheckpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
        "'train_time_interval': None}"
    )
