"""Real disks that are full, folders that cannot be written into, and processes that are killed while they write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"


def run_mount(*words: object) -> None:
    """Run ``mount`` or ``umount``; skip the test where this process may not, as in most containers."""
    ran = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {ran.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of this size on a folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    run_mount("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(folder: Path) -> None:
    """Write a file into a folder until nothing more fits on its disk."""
    with (folder / FILLER).open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Make a folder one that nobody can write into, not even root."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield folder
        finally:
            folder.chmod(0o755)
        return
    run_mount("mount", "--bind", folder, folder)
    try:
        run_mount("mount", "-o", "remount,bind,ro", folder)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def temporary_files(folder: Path) -> list[str]:
    """Return the names of what an unfinished write has left in a folder and below it."""
    return sorted(path.name for path in folder.rglob("*") if path.name.endswith((".fusecast", ".tmp")))


def kill_in(action: Callable[[], None], *, at_rename: int) -> bool:
    """Run an action in a child that is killed before its rename of this number, from 0; return whether it was."""
    child = os.fork()
    if child == 0:
        replace, renames = Path.replace, []

        def kill_or_replace(self: Path, target: Path | str) -> Path:
            if len(renames) == at_rename:
                os.kill(os.getpid(), signal.SIGKILL)
            renames.append(target)
            return replace(self, target)

        Path.replace = kill_or_replace  # type: ignore[method-assign, assignment]
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@contextmanager
def writing_process(path: Path, how: str = "replace_file") -> Iterator[subprocess.Popen[str]]:
    """Start a process that writes to a path (or into a folder), and is in the middle of it until it is killed."""
    code = (
        "import sys, pathlib\n"
        "from fusecast.io.output_dir import replace_results\nfrom fusecast.io.atomic import replace_file\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with (replace_file(path) if sys.argv[2] == 'replace_file' else replace_results(path, sys.argv[2])) as new:\n"
        "    (new / 'half' if new.is_dir() else new).write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.kill()
