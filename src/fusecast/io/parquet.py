"""Parquet files, and folders of them, as one table: their files, types, sizes and checksums, without their rows."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from fusecast.data.issues import Issues
from fusecast.errors import DataError, FusecastError
from fusecast.io.atomic import compute_checksum, write_text_atomically

BYTES_PER_CELL = 16
"""Memory of a cell while a table becomes a panel: its value in the table and in the panel."""
SETTLED_SECONDS = 2.0
"""Age from which a file is recognised by its time stamp, which may be the same for two changes at once."""


@dataclass(frozen=True)
class Piece:
    """Neighbouring row groups of a file."""

    file: Path
    groups: list[int]


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file, or all those in a folder and its folders, by name; other files there are ignored."""

    path: Path
    files: tuple[Path, ...]

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """Return the table of a path; raise a DataError where there is none."""
        path = Path(path)
        if not path.exists():
            raise DataError.no_file(path)
        if path.is_file():
            return cls(path, (path,))
        hidden = ("_", ".")
        files = tuple(file for file in sorted(path.rglob("*.parquet")) if not file.name.startswith(hidden))
        if not files:
            raise DataError.no_parquet_files(path)
        return cls(path, files)

    @cached_property
    def types(self) -> dict[str, pl.DataType]:
        """Type of each column, wide enough for all files; raise a DataError where they do not fit together."""
        schemas = [_read_types(file) for file in self.files]
        for file, schema in zip(self.files, schemas, strict=True):
            if schema.keys() != schemas[0].keys():
                differing = sorted(schema.keys() ^ schemas[0].keys())
                raise DataError.differing_files(self.files[0], file, f"{', '.join(differing)} is in one of them only")
        try:
            empty = pl.concat([pl.DataFrame(schema=dict(each)) for each in _unique(schemas)], how="vertical_relaxed")
        except pl.exceptions.PolarsError as error:
            raise DataError.differing_files(self.path, "its other files", str(error).splitlines()[0]) from error
        return dict(empty.schema)

    @cached_property
    def rows(self) -> int:
        """Number of rows, from the metadata alone."""
        return sum(sum(_group_rows(file)) for file in self.files)

    @property
    def memory(self) -> int:
        """Bytes that the table needs in memory while it becomes a panel, estimated from the metadata alone."""
        return self.rows * len(self.types) * BYTES_PER_CELL

    def require_columns(self, names: Iterable[str]) -> None:
        """Raise a DataError where columns are not in the table."""
        issues = Issues()
        issues.missing_columns(names, list(self.types))
        issues.raise_if_any()

    def read(self, rows: int | None = None) -> pl.DataFrame:
        """Return the table, or its first rows."""
        types, frames = self.types, list[pl.DataFrame]()
        for file in self.files:
            left = None if rows is None else rows - sum(map(len, frames))
            if left == 0:
                break
            with translate_read_errors(file):
                frame = pl.read_parquet(file, n_rows=left, hive_partitioning=False)
            frames.append(frame if len(self.files) == 1 else frame.select(*types).cast(types))  # type: ignore[arg-type]
        return pl.concat(frames)

    def pieces(self, rows: int) -> Iterator[Piece]:
        """Yield neighbouring row groups with so many rows together, where there are as many in the file."""
        for file in self.files:
            groups, size = [], 0
            for number, count in enumerate(_group_rows(file)):
                groups.append(number)
                size += count
                if size >= rows:
                    yield Piece(file, groups)
                    groups, size = [], 0
            if groups:
                yield Piece(file, groups)

    def checksum(self, folder: Path) -> str:
        """Return a checksum of the content; in a folder those of files are remembered by name, size and time."""
        digest = hashlib.sha256()
        for file in self.files:
            status = file.stat()
            identity = f"{file.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n{status.st_ino}"
            known = folder / f"{hashlib.sha256(os.fsencode(identity)).hexdigest()[:32]}.sum"
            content = ""
            with suppress(OSError, UnicodeDecodeError):
                content = known.read_text(encoding="ascii")
            if len(content) != 64:
                content = compute_checksum(file)
                if time.time() - status.st_mtime > SETTLED_SECONDS:
                    write_text_atomically(known, content)
            digest.update(f"{file.relative_to(self.path)}\n{content}\n".encode())
        return digest.hexdigest()


@contextmanager
def translate_read_errors(file: Path) -> Iterator[None]:
    """Raise a DataError in place of the errors of pyarrow and polars for a file that they cannot read."""
    try:
        yield
    except FusecastError:
        raise
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:  # those of pyarrow are subclasses of the first
        raise DataError.unreadable_file(file, str(error).splitlines()[0]) from error


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file by its name, or a folder with such files."""
    if path.is_dir():
        return next(path.rglob("*.parquet"), None) is not None
    return path.suffix.lower() == ".parquet" and path.is_file()


def refuse_duplicates(names: Iterable[Any]) -> None:
    """Raise if a name occurs twice."""
    if repeated := [name for name, count in Counter(map(str, names)).items() if count > 1]:
        raise DataError.duplicate_columns(repeated)


def _read_types(file: Path) -> dict[str, pl.DataType]:
    import pyarrow.parquet as pq

    with translate_read_errors(file):
        refuse_duplicates(pq.read_schema(file).names)
        return dict(pl.read_parquet_schema(file))


def _group_rows(file: Path) -> list[int]:
    import pyarrow.parquet as pq

    with translate_read_errors(file):
        metadata = pq.read_metadata(file)
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def _unique(schemas: list[dict[str, pl.DataType]]) -> list[dict[str, pl.DataType]]:
    """Return the different ones of schemas with the same columns, in the order of the first."""
    ordered = [{name: schema[name] for name in schemas[0]} for schema in schemas]
    return [schema for number, schema in enumerate(ordered) if schema not in ordered[:number]]
