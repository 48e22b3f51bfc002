"""Part files: a long table that is written in parts, can be resumed after a kill, and ends as one Parquet file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from fusecast.errors import ArtifactError
from fusecast.io.atomic import replace_file, write_text_atomically

MANIFEST = "manifest.json"


class PartFiles:
    """Numbered part files in a folder of their own, and a manifest that identifies the work they belong to.

    A part file is complete or absent. Existing parts of the same work are reused; parts of other work are never mixed
    in, and never deleted. A manifest without parts is overwritten.

    The folder is created if it does not exist. `identity` are plain values that determine the parts: same values, same
    parts. Raise an ArtifactError when the folder holds parts of other work.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        manifest = folder / MANIFEST
        text = json.dumps(identity, indent=1, sort_keys=True, allow_nan=False)
        if manifest.exists() and manifest.read_text(encoding="utf-8") == text:
            return
        if self._has_parts():
            raise ArtifactError.other_backtest(folder)
        write_text_atomically(manifest, text)

    def __repr__(self) -> str:
        return f"PartFiles({str(self.folder)!r})"

    def _has_parts(self) -> bool:
        """Return whether there is anything but the manifest, and temporary files of an interrupted write."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        return any(name != MANIFEST and not name.startswith(".") for name in names)

    def path(self, part: int) -> Path:
        """Return the path of a part file, whether or not it exists."""
        return self.folder / f"part-{part:06d}.parquet"

    def has(self, part: int) -> bool:
        """Return whether a part file exists; then it is complete."""
        return self.path(part).exists()

    def write(self, part: int, frame: pl.DataFrame) -> None:
        """Write a part file, whole or not at all."""
        with replace_file(self.path(part)) as temporary:
            frame.write_parquet(temporary)

    def read(self, part: int) -> pl.DataFrame:
        """Read a part file."""
        return pl.read_parquet(self.path(part), glob=False)

    def merge(self, count: int, path: Path) -> None:
        """Write parts 0 to `count` - 1 to one Parquet file, a row group each; only one is in memory at a time."""
        schema = pq.read_schema(self.path(0))
        with replace_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for part in range(count):
                writer.write_table(pq.read_table(self.path(part), partitioning=None).cast(schema))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def remove_if_empty(self) -> None:
        """Remove the folder where it has no part."""
        if not self._has_parts():
            self.remove()
