"""Write: a frame goes into a file of the kind that its name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from fusecast.errors import ArtifactError

ENDINGS = (".parquet", ".csv", ".feather", ".arrow")


def check_writable(path: Path) -> None:
    """Find out before the work whether its result can be written.

    Raises
    ------
    ArtifactError
        When the ending is unknown or the folder does not exist.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ArtifactError.unknown_ending(path, ENDINGS)
    check_folder(path)


def check_folder(path: Path) -> None:
    """Raise an ArtifactError where a file's folder does not exist, or a folder has its name."""
    if not path.parent.is_dir():
        raise ArtifactError.no_folder(path.parent)
    if path.is_dir():
        raise ArtifactError.folder_in_the_way(path)


def check_apart(path: Path, *sources: Any) -> None:
    """Raise an ArtifactError where results would be written over a table that they are made from.

    Sources that are no files, such as frames and None, are passed over.
    """
    for source in sources:
        if isinstance(source, str | Path) and Path(source).exists() and path.exists() and path.samefile(source):
            raise ArtifactError.would_overwrite(path)


def write_table(frame: Any, path: Path) -> None:
    """Write a polars, pandas or Arrow frame as Parquet, CSV or Arrow, by the ending of the path."""
    check_writable(path)
    table = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
    match path.suffix.lower():
        case ".parquet":
            table.write_parquet(path)
        case ".csv":
            table.write_csv(path)
        case _:
            table.write_ipc(path)
