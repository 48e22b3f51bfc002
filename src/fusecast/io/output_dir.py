"""Write the files of one command into a folder, in place of those that its earlier calls wrote there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusecast.errors import ArtifactError
from fusecast.io.atomic import (
    compute_checksum,
    flush_to_disk,
    scratch_folder,
    translate_write_errors,
    write_text_atomically,
)

Checksums = dict[str, list[str]]
"""Name of a file -> SHA-256 of what a command wrote to it: one, or two if it was interrupted while replacing it."""


@contextmanager
def replace_results(folder: Path, command: str) -> Iterator[Path]:
    """Yield an empty folder to write files into; on success they are moved into `folder`, which is created.

    What earlier calls of the same command wrote there is removed, so that the folder holds the results of one call;
    after an error they stay whole. No other file is removed: ``.fusecast-<command>.json`` lists what was written, and
    a file whose content has changed since belongs to the user. Raise an ArtifactError as
    :func:`check_results_folder`, where a folder has the name of a file to write, and where the disk is full.
    """
    check_results_folder(folder)
    with scratch_folder(f".fusecast-{command}-", folder) as scratch:
        try:
            with translate_write_errors(folder):
                yield scratch
                _move_results(scratch, folder, folder / f".fusecast-{command}.json")
        except ArtifactError as error:
            raise type(error)(str(error).replace(str(scratch), str(folder))) from error


def check_results_folder(folder: Path) -> None:
    """Raise an ArtifactError, before the work, if a folder of results is a file or cannot be written into."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise ArtifactError.cannot_write(existing, "is a file, and no files can be written into it")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ArtifactError.read_only_folder(existing)


def _move_results(scratch: Path, folder: Path, ledger: Path) -> None:
    earlier = _read_ledger(ledger)
    results = {path.name: [compute_checksum(path)] for path in sorted(scratch.iterdir())}
    for name in results:
        flush_to_disk(scratch / name)
        if (folder / name).is_dir():
            raise ArtifactError.cannot_write(folder / name, "is a folder where a file is to be written", "rename it")
    # If interrupted from here on, the next call finds the files of both calls in the ledger.
    _write_ledger(ledger, {name: earlier.get(name, []) + results.get(name, []) for name in {**earlier, **results}})
    for name in results:
        (scratch / name).replace(folder / name)
    for name, checksums in earlier.items():
        path = folder / name
        if name not in results and path.is_file() and not path.is_symlink() and compute_checksum(path) in checksums:
            path.unlink()
    _write_ledger(ledger, results)


def _read_ledger(ledger: Path) -> Checksums:
    """Read what was written; empty where the ledger is missing or damaged: then no file is removed."""
    try:
        written = json.loads(ledger.read_text(encoding="utf-8"))["written"]
        pairs = [(str(name), [str(checksum) for checksum in checksums]) for name, checksums in written.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: checksums for name, checksums in pairs if name == Path(name).name}  # in this folder only


def _write_ledger(ledger: Path, written: Checksums) -> None:
    write_text_atomically(ledger, json.dumps({"format": 1, "written": written}, indent=1, ensure_ascii=False) + "\n")
