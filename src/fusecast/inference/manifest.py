"""The manifest of an exported bundle: the SHA-256 of each of its files, by which a changed or missing one is found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from fusecast._version import __version__
from fusecast.errors import ArtifactError
from fusecast.io.atomic import compute_checksum, finish_replacing
from fusecast.io.documents import parse_json, read_bytes, take

MANIFEST = "manifest.json"
FORMAT = 1
EXPORTED = "exported"
"""Key among the extra values of a bundle that has a manifest: without its manifest, such a bundle is not whole."""


def make_manifest(contents: Mapping[str, bytes], facts: Mapping[str, str]) -> bytes:
    """Return the manifest of files by their paths in the folder, with `facts` about them."""
    checksums = {name: compute_checksum(content) for name, content in sorted(contents.items())}
    values = {"format": FORMAT, "fusecast": __version__, **facts, "sha256": checksums}
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def is_exported(folder: Path) -> bool:
    """Whether a folder is an exported bundle, intact or not."""
    return (folder / MANIFEST).is_file()


def refuse_exported(folder: Path) -> None:
    """Raise an ArtifactError where a folder is an exported bundle: such a one is replaced as a whole, by an export."""
    if is_exported(folder):
        raise ArtifactError.exported(folder)


def read_manifest(folder: Path) -> dict[str, str]:
    """Return the checksums in the manifest of a folder, by the paths of its files.

    Raise an ArtifactError where it is damaged, or of a newer fusecast.
    """
    path = folder / MANIFEST
    try:
        values = parse_json(read_bytes(path))
        if not isinstance(values, dict) or "format" not in values:
            raise ValueError("it is no manifest of a bundle")
        version = values["format"]
        if isinstance(version, bool) or not isinstance(version, int) or version > FORMAT:
            raise ArtifactError.newer(path, version, FORMAT)
        checksums = take(values, "sha256", dict, items=str)
        for name in checksums:
            parts = PurePosixPath(name).parts
            if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name:
                raise ValueError(f"it names a file outside the bundle, {name!r}")
    except (OSError, ValueError) as error:
        raise ArtifactError.unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    return checksums


def check_manifest(folder: Path) -> None:
    """Raise an ArtifactError that names the first file of an exported bundle that is missing, or is another one.

    What a kill while the bundle was replaced has left undone is done first. Other files in the folder are not read.
    """
    for name, checksum in read_manifest(folder).items():
        path = folder / name
        finish_replacing(path, checksum)
        if not path.is_file():
            raise ArtifactError.missing(path, f"every file that {MANIFEST} lists; copy the whole bundle again")
        if compute_checksum(path) != checksum:
            raise ArtifactError.unreadable(path, f"it is not the file that {MANIFEST} was written for")
