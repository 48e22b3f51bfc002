"""Parts: a long table that is written piece by piece, survives being killed, and ends as one Parquet file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fusecast.errors import ArtifactError
from fusecast.io.atomic import replacing

MANIFEST = "manifest.json"


class PartFiles:
    """Numbered part files in a folder of their own, and a note of what they are parts of.

    A part is there whole or not at all. Parts of the same work are kept and not made again; parts of another work are
    never mixed in, and never deleted. A note without parts keeps nobody from anything.

    Parameters
    ----------
    folder
        Made if it does not exist.
    identity
        Plain values that the parts follow from: same values, same parts.

    Raises
    ------
    ArtifactError
        When the folder holds parts of something else.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        manifest = folder / MANIFEST
        text = json.dumps(identity, indent=1, sort_keys=True, allow_nan=False)
        if manifest.exists() and manifest.read_text(encoding="utf-8") == text:
            return
        if self._holds_something():
            raise ArtifactError.other_parts(folder)
        with replacing(manifest) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _holds_something(self) -> bool:
        """Whether there is anything but the note, and files that were being written when something was cut off."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        return any(name != MANIFEST and not name.startswith(".") for name in names)

    def path(self, number: int) -> Path:
        """Where a part is, or will be."""
        return self.folder / f"part-{number:06d}.parquet"

    def has(self, number: int) -> bool:
        """Whether a part is complete."""
        return self.path(number).exists()

    def write(self, number: int, frame: pl.DataFrame) -> None:
        """Write a part; it appears when it is whole."""
        with replacing(self.path(number)) as temporary:
            frame.write_parquet(temporary)

    def read(self, number: int) -> pl.DataFrame:
        """Read a part."""
        return pl.read_parquet(self.path(number), glob=False)

    def merge(self, count: int, path: Path) -> None:
        """Put parts 0 to `count` - 1 into one Parquet file, a row group each; only one is in memory at a time."""
        schema: pa.Schema | None = None
        with replacing(path) as temporary:
            writer: pq.ParquetWriter | None = None
            try:
                for number in range(count):
                    part = pq.read_table(self.path(number))
                    schema = schema or part.schema
                    writer = writer or pq.ParquetWriter(temporary, schema, compression="zstd")
                    writer.write_table(part.cast(schema))
            finally:
                if writer is not None:
                    writer.close()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def remove_if_empty(self) -> None:
        """Remove the folder where no part was made."""
        if not self._holds_something():
            self.remove()
