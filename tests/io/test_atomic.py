from __future__ import annotations

import hashlib
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from tests.helpers.disks import fill_disk, kill_in, read_only, run_mount, small_disk, temporary_files, writing_process

from fusecast.errors import ArtifactError
from fusecast.io import atomic
from fusecast.io.atomic import (
    compute_checksum,
    finish_replacing,
    replace_file,
    replace_files,
    scratch_folder,
    write_bytes_atomically,
    write_text_atomically,
)
from fusecast.io.output_dir import replace_results
from fusecast.io.tables import write_table

ROWS = 20_000
FRAME = pl.DataFrame({"x": np.random.default_rng(0).normal(size=ROWS), "name": [f"series {i}" for i in range(ROWS)]})


@pytest.fixture(autouse=True)
def _as_a_new_process() -> None:
    atomic._remove_leftovers.cache_clear()


def test_a_file_is_replaced_and_its_folder_created(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_text_atomically(path, "früher\n")
    write_bytes_atomically(path, b"later\n")
    assert path.read_bytes() == b"later\n"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_after_an_error_the_old_file_is_whole_and_no_other_is_left(tmp_path):
    path = tmp_path / "file"
    write_text_atomically(path, "old")

    def write_half() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half of the n")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_checksum_of_a_file_is_that_of_its_content(tmp_path):
    content = bytes(range(256)) * 5000
    write_bytes_atomically(tmp_path / "file", content)
    assert compute_checksum(tmp_path / "file") == compute_checksum(content) == hashlib.sha256(content).hexdigest()


# What is replaced: links, permissions, devices, pipes, the output.


def test_permissions_are_kept_and_a_new_file_has_the_usual_ones(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "new", "1")
    (tmp_path / "usual").write_text("1")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "new").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(tmp_path / "new", 12, 34)
    before = (tmp_path / "new").stat()
    write_text_atomically(tmp_path / "new", "2")
    after = (tmp_path / "new").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@pytest.mark.parametrize("exists", [True, False])
def test_the_file_that_a_link_leads_to_is_replaced(exists: bool, tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "folder" / "link"
    target.parent.mkdir()
    link.parent.mkdir()
    if exists:
        target.write_text("old")
    (tmp_path / "between").symlink_to(Path("elsewhere") / "file")
    link.symlink_to(Path("..") / "between")
    write_text_atomically(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "between").is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_device_stays_one(tmp_path: Path) -> None:
    write_text_atomically(Path("/dev/null"), "new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    (tmp_path / "null.csv").symlink_to("/dev/null")
    write_table(FRAME, tmp_path / "null.csv")
    assert (tmp_path / "null.csv").is_char_device()
    with pytest.raises(ArtifactError, match="/dev/full cannot be written: No space left on device"):
        write_text_atomically(Path("/dev/full"), "new")
    assert not [path for path in Path("/dev").iterdir() if path.name.endswith(".fusecast")]


@pytest.mark.parametrize("name", ["pipe.csv", "pipe.parquet"])
def test_a_pipe_is_written_to(name: str, tmp_path: Path) -> None:
    pipe, received = tmp_path / name, []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_table(FRAME, pipe)
    reader.join(timeout=60)
    write_table(FRAME, tmp_path / f"file{pipe.suffix}")
    assert received == [(tmp_path / f"file{pipe.suffix}").read_bytes()]
    assert pipe.is_fifo()


def test_a_pipe_that_nobody_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "PIPE_SECONDS", 0.05)
    pipe = tmp_path / "last.ckpt"
    os.mkfifo(pipe)
    with pytest.raises(ArtifactError, match="a pipe that nobody reads"):
        write_bytes_atomically(pipe, b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("into", ["file", "pipe"])
def test_the_output_of_the_process_is_written_in_order(into: str, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom fusecast.io.atomic import write_text_atomically\n"
        "print('before')\nwrite_text_atomically(Path('/dev/stdout'), 'page\\n')\nprint('after')\n"
    )
    command = [sys.executable, "-c", code]
    with (tmp_path / "out").open("wb") as file:
        ran = subprocess.run(command, stdout=file if into == "file" else subprocess.PIPE, check=True)
    assert (ran.stdout or (tmp_path / "out").read_bytes()) == b"before\npage\nafter\n"


@contextmanager
def as_another_user(folder: Path) -> Iterator[None]:
    """Let this process have no rights over the files of others, where it is root's."""
    if os.geteuid() != 0:
        yield
        return
    for parent in (folder, *folder.parents[:-2]):  # those of pytest, which only root enters
        parent.chmod(parent.stat().st_mode | 0o055)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_a_writable_file_in_a_folder_that_is_not_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.write_text("the old and longer content")
    (tmp_path / "closed").write_text("old")
    path.chmod(0o666)
    (tmp_path / "closed").chmod(0o444)
    tmp_path.chmod(0o555)
    with as_another_user(tmp_path):
        write_text_atomically(path, "new")
        with pytest.raises(ArtifactError, match="closed cannot be written: Permission denied"):
            write_text_atomically(tmp_path / "closed", "new")
        with pytest.raises(ArtifactError, match="another cannot be written: Permission denied"):
            write_text_atomically(tmp_path / "another", "new")
    assert path.read_text() == "new"
    assert (tmp_path / "closed").read_text() == "old"
    tmp_path.chmod(0o755)


def test_a_file_that_is_mounted_by_itself_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("old")
    (tmp_path / "mounted").write_text("")
    run_mount("mount", "--bind", tmp_path / "outside", tmp_path / "mounted")
    try:
        write_text_atomically(tmp_path / "mounted", "new")
    finally:
        subprocess.run(["umount", str(tmp_path / "mounted")], check=True)
    assert (tmp_path / "outside").read_text() == "new"
    assert temporary_files(tmp_path) == []


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"{tmp_path.name} cannot be written: Is a directory"):
        write_text_atomically(tmp_path, "new")


def test_a_long_name_is_written(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / ("ü" * 125 + ".csv"), "new")
    assert len(list(tmp_path.iterdir())) == 1


# A full disk.


def write_with_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, FRAME["x"].to_numpy())


TENSORS = {f"weight {i}": torch.ones(5_000) for i in range(8)}
WRITERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("x" * 400_000),
    "polars parquet": FRAME.write_parquet,
    "polars csv": FRAME.write_csv,
    "polars arrow": FRAME.write_ipc,
    "pyarrow": lambda path: pq.write_table(pa.table({"x": FRAME["x"].to_numpy()}), path),
    "numpy": write_with_numpy,
    "torch": lambda path: torch.save(TENSORS, path),
    "safetensors": lambda path: save_file(TENSORS, path),
}


@contextmanager
def limited_size(_: Path) -> Iterator[None]:
    """No file of this process may grow beyond 64 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


REASONS = {"disk": "No space left on device", "limit": "File too large"}


@pytest.mark.parametrize("kind", ["disk", "limit"])
@pytest.mark.parametrize("writer", WRITERS)
def test_whatever_writes_a_full_disk_is_named_and_the_old_file_is_whole(writer: str, kind: str, tmp_path: Path) -> None:
    folder, write = tmp_path / "disk", WRITERS[writer]
    with small_disk(folder, 64) if kind == "disk" else limited_size(folder):
        write_text_atomically(folder / "results", "old")
        reason = "" if writer in ("torch", "numpy") else REASONS[kind]
        message = f"results cannot be written: .*{reason}"
        with pytest.raises(ArtifactError, match=message), replace_file(folder / "results") as temporary:
            write(temporary)
        assert (folder / "results").read_text() == "old"
        assert [path.name for path in folder.iterdir()] == ["results"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow", "feather"])
def test_a_table_on_a_full_disk_leaves_the_old_one(ending: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as folder:
        path = folder / f"table.{ending}"
        write_table(FRAME.head(3), path)
        fill_disk(folder)
        before = path.read_bytes()
        with pytest.raises(ArtifactError, match=f"table.{ending} cannot be written: No space left on device"):
            write_table(FRAME, path)
        assert path.read_bytes() == before
        assert temporary_files(folder) == []


def test_a_file_that_is_written_in_place_is_whole_after_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as folder:
        path = folder / "open"
        path.write_text("old")
        path.chmod(0o666)
        fill_disk(folder)
        folder.chmod(0o555)
        with as_another_user(folder):
            with pytest.raises(ArtifactError, match="open cannot be written: No space left on device"):
                write_text_atomically(path, "x" * 100_000)
            assert path.read_text() == "old"
            write_text_atomically(path, "new")
        assert path.read_text() == "new"


def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "folder" / "file", "old")
    with read_only(tmp_path / "folder") as folder:
        for name in ("file", "new", "below/new"):
            with pytest.raises(ArtifactError, match=f"{name} cannot be written: (Read-only|Permission denied)"):
                write_text_atomically(folder / name, "new")
    assert (tmp_path / "folder" / "file").read_text() == "old"


def test_errors_that_are_not_of_the_disk_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), replace_file(tmp_path / "file"):
        (tmp_path / "source").read_bytes()
    with pytest.raises(ConnectionError), replace_file(tmp_path / "file"):
        raise ConnectionError
    assert list(tmp_path.iterdir()) == []


# Killed processes.


@pytest.mark.parametrize("how", ["replace_file", "explain"])
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_there(how: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html" if how == "replace_file" else tmp_path
    with writing_process(path, how) as process:
        (left,) = temporary_files(tmp_path)
        process.kill()
        process.wait()
    assert temporary_files(tmp_path) == [left]
    if how == "replace_file":
        write_text_atomically(tmp_path / "metrics.json", "{}")
    else:
        with replace_results(tmp_path, how):
            pass
    assert temporary_files(tmp_path) == []


@pytest.mark.parametrize("how", ["replace_file", "explain"])
def test_what_a_running_process_writes_and_files_of_the_user_stay(how: str, tmp_path: Path) -> None:
    mine = [".page.html.0123abcd", ".page.html.0123abcd.fusecast.bak", "page.html.fusecast", ".fusecast-explain-me.tmp"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / "linked").write_text("mine")
    (tmp_path / ".linked.0123abcd.fusecast").symlink_to(tmp_path / "linked")
    path = tmp_path / "page.html" if how == "replace_file" else tmp_path
    with writing_process(path, how) as process:
        running = temporary_files(tmp_path)
        write_text_atomically(tmp_path / "page.html", "here")
        with replace_results(tmp_path, "explain"):
            pass
        assert temporary_files(tmp_path) == running
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0
    assert (tmp_path / "half" if how == "explain" else path).read_text() == "half"
    assert all((tmp_path / name).read_text() == "mine" for name in (*mine, "linked"))


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    def be_killed() -> None:
        with scratch_folder("fusecast-fit-", tmp_path) as folder:
            (folder / "below").mkdir()
            (folder / "below" / "large").write_text("old")
            (folder / "large").replace(folder / "larger")

    assert kill_in(be_killed, at_rename=0)
    assert len(temporary_files(tmp_path)) == 1
    with scratch_folder("fusecast-backtest-", tmp_path) as other:
        assert len(temporary_files(tmp_path)) == 2
        with scratch_folder("fusecast-fit-", tmp_path) as folder:
            assert temporary_files(tmp_path) == sorted([folder.name, other.name])
    assert list(tmp_path.iterdir()) == []


def test_files_that_belong_together_are_replaced_together_wherever_the_process_is_killed(tmp_path: Path) -> None:
    for at_rename in range(4):
        folder = tmp_path / str(at_rename)
        names = ["data", "weights", "config"]
        old = {folder / name: f"old {name}".encode() for name in names}
        new = {folder / name: f"new {name}".encode() for name in names}
        replace_files(old)
        assert kill_in(lambda new=new: replace_files(new), at_rename=at_rename) == (at_rename < 3)
        expected = new if (folder / "config").read_bytes() == b"new config" else old
        for path in (folder / "weights", folder / "data"):
            finish_replacing(path, compute_checksum(expected[path]))
        assert {path: path.read_bytes() for path in new} == expected
        assert expected is (old if at_rename == 0 else new)


def test_files_that_belong_together_stay_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as folder:
        replace_files({folder / "weights": b"old", folder / "config": b"old"})
        with pytest.raises(ArtifactError, match="config cannot be written: No space left on device"):
            replace_files({folder / "weights": b"x" * 30_000, folder / "config": b"x" * 40_000})
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"weights": b"old", "config": b"old"}
