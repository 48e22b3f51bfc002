"""Results: the files of one command in a folder, in place of those that its earlier calls left there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fusecast.errors import ArtifactError

Checksums = dict[str, list[str]]
"""Name of a file -> SHA-256 of what a command wrote under it: one, or two where it was cut off while replacing it."""


def check_results(folder: Path) -> None:
    """Find out before the work whether a folder of results can be made, or written into.

    Raises
    ------
    ArtifactError
        When a file has its name, or nothing can be written there.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise ArtifactError.not_a_folder(place)
    if not os.access(place, os.W_OK | os.X_OK):
        raise ArtifactError.not_writable(place)


@contextmanager
def results(folder: Path, command: str) -> Iterator[Path]:
    """Give an empty folder to write files into; on leaving without an error they go into `folder`, which is made.

    What earlier calls of the same command wrote there goes away, so that a reader finds the results of one call; after
    an error they stay whole. No other file is removed: ``.fusecast-<command>.json`` says what was written, and a file
    whose content is no longer that is its owner's.

    Raises
    ------
    ArtifactError
        As :func:`check_results`, and where a folder has the name of a file.
    """
    check_results(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".fusecast-{command}-", dir=folder))
    try:
        yield scratch
        _replace(folder, folder / f".fusecast-{command}.json", scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _replace(folder: Path, ledger: Path, scratch: Path) -> None:
    before, made = _read(ledger), {path.name: [_checksum(path)] for path in sorted(scratch.iterdir())}
    for name in made:
        if (folder / name).is_dir():
            raise ArtifactError.folder_in_the_way(folder / name)
    # Cut off from here on, the next call knows the files of both.
    _write(ledger, {name: before.get(name, []) + made.get(name, []) for name in {**before, **made}}, scratch)
    for name in made:
        (scratch / name).replace(folder / name)
    for name, checksums in before.items():
        path = folder / name
        if name not in made and path.is_file() and not path.is_symlink() and _checksum(path) in checksums:
            path.unlink()
    _write(ledger, made, scratch)


def _read(ledger: Path) -> Checksums:
    """Read what was written; nothing where there is no such file, or a damaged one: then nothing is removed."""
    try:
        written = json.loads(ledger.read_text(encoding="utf-8"))["written"]
        pairs = [(str(name), [str(each) for each in checksums]) for name, checksums in written.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: checksums for name, checksums in pairs if name == Path(name).name}  # in this folder, not elsewhere


def _write(ledger: Path, written: Mapping[str, list[str]], scratch: Path) -> None:
    text = json.dumps({"format": 1, "written": dict(written)}, indent=1, ensure_ascii=False)
    temporary = scratch / ledger.name
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(ledger)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
