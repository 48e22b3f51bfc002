"""The partitions of a table in a folder: which there are, what each holds, and that no series is in two of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np
import polars as pl

from fusecast.data.ids.columns import name_series, split_names
from fusecast.data.ids.matching import match_ids
from fusecast.data.issues import Issues
from fusecast.data.parsing import to_text
from fusecast.errors import DataError, DataNote, FusecastError
from fusecast.errors.base import format_count, some_of, warn
from fusecast.io.tables import ARROW_ENDINGS, CSV_ENDINGS, read_table, to_plain_type

if TYPE_CHECKING:
    from fusecast.io.tables import TableLike

ENDINGS = (*CSV_ENDINGS, ".parquet", *ARROW_ENDINGS)
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A file of a table, or all files of one folder ``column=value``, the layout of Hive."""

    name: str  # path of the file within the table, without its ending; or of the folder
    files: tuple[Path, ...]
    columns: Mapping[str, pl.Series] = field(default_factory=dict)  # values, of length 1, in the names of folders
    is_folder: bool = False

    @property
    def path(self) -> Path:
        """The file, or the folder of the files."""
        return self.files[0].parent if self.is_folder else self.files[0]

    @property
    def result(self) -> str:
        """Path of the forecasts within the folder of all results."""
        return f"{self.name}/forecasts.parquet" if self.is_folder else f"{self.name}.parquet"

    def stamp(self) -> list[tuple[str, int, int]]:
        """Return name, size and time of the last change of each file."""
        return [(path.name, (status := path.stat()).st_size, status.st_mtime_ns) for path in self.files]

    def read(self, ids: Sequence[str]) -> TableLike:
        """Return the table: its path where one file has every column, else a frame."""
        if len(self.files) == 1 and not self.columns:
            return self.files[0]
        frames = [read_table(path, keys=ids) for path in self.files]
        try:
            frame = pl.concat(frames, how="diagonal_relaxed")
        except pl.exceptions.PolarsError as error:
            raise DataError.unreadable_file(self.path, f"its files differ ({str(error).splitlines()[0]})") from error
        new = [column for name, column in self.columns.items() if name not in frame.columns]
        return frame.with_columns(column.new_from_index(0, len(frame)) for column in new)

    def read_series(self, ids: Sequence[str], known: Mapping[str, Sequence[str]]) -> pl.Series | None:
        """Return the names of its series; None where they cannot be read, which its forecast will say.

        Ids are spelled as the `known` ones of the training: 007 is 7 where that is one of them.
        """
        try:
            texts = pl.concat(self._read_ids(ids)).drop_nulls().unique()
        except (FusecastError, pl.exceptions.PolarsError, OSError, ValueError):
            return None
        texts = texts.select(c.replace(match_ids(c.unique().to_list(), known[c.name])) for c in texts.iter_columns())
        return pl.Series(name_series(texts), dtype=pl.String)

    def _read_ids(self, ids: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the different ids of each file, as text."""
        for path in self.files:
            if path.name.lower().endswith(CSV_ENDINGS):
                frame = read_table(path, keys=ids)
            else:
                scan = pl.scan_parquet if path.suffix.lower() == ".parquet" else pl.scan_ipc
                lazy = scan(path, hive_partitioning=False)
                present = [name for name in ids if name in lazy.collect_schema()]
                frame = lazy.select(present).unique().collect(engine="streaming")
            for name in ids:
                if name not in frame.columns and name not in self.columns:
                    raise DataError.unreadable_file(path, f"it has no column {name!r}")
            rows = max(1, len(frame))
            columns = [
                frame[name] if name in frame.columns else self.columns[name].new_from_index(0, rows) for name in ids
            ]
            yield pl.DataFrame([to_text(to_plain_type(column), Issues()) for column in columns]).unique()


def find_partitions(folder: Path) -> list[Partition]:
    """Return the partitions of a table in a folder, at any depth, in the order of their names.

    Files and folders whose names begin with a dot or an underscore are no part of a table; other files that are no
    tables are named in a DataNote. Raise a DataError where there is no table, or two would be one partition.
    """
    if not folder.is_dir():
        raise DataError.no_file(folder)
    files: dict[str, list[Path]] = {}
    folders: dict[str, Path] = {}
    others: list[str] = []
    for path in _walk(folder):
        parent = path.parent.relative_to(folder)
        ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
        if ending is None:
            others.append(str(path.relative_to(folder)))
            continue
        is_folder = _is_hive(parent.name)
        name = parent.as_posix() if is_folder else (parent / path.name[: -len(ending)]).as_posix()
        if name in files and not (is_folder and folders[name] == parent):
            raise DataError.same_partition(name, files[name][0], path)
        files.setdefault(name, []).append(path)
        folders[name] = parent
    if not files:
        raise DataError.no_partitions(folder, ENDINGS)
    if others:
        warn(DataNote.of_facts([f"{format_count(len(others), 'file')} in {folder} are no tables: {some_of(others)}"]))
    columns = _read_columns(folders)
    return [
        Partition(
            name=name, files=tuple(files[name]), columns=columns[name], is_folder=folders[name].as_posix() == name
        )
        for name in sorted(files)
    ]


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith((".", "_")))


def _is_hive(name: str) -> bool:
    return bool(name.partition("=")[0].strip()) and "=" in name


def _read_columns(folders: Mapping[str, Path]) -> dict[str, dict[str, pl.Series]]:
    """Return the values in the names of the folders of partitions; a column is of numbers where all its values are."""
    texts: dict[str, dict[str, str | None]] = {}
    values: dict[str, set[str]] = {}
    for name, folder in folders.items():
        pairs = (part.split("=", 1) for part in folder.parts if _is_hive(part))
        texts[name] = {unquote(key): None if value == HIVE_NULL else unquote(value) for key, value in pairs}
        for key, text in texts[name].items():
            values.setdefault(key, set()).update(() if text is None else (text,))
    types = {key: _type_of(found) for key, found in values.items()}
    return {
        name: {key: pl.Series(key, [text], dtype=pl.String).cast(types[key]) for key, text in row.items()}
        for name, row in texts.items()
    }


def _type_of(texts: set[str]) -> type[pl.DataType]:
    for pattern, dtype in ((WHOLE, pl.Int64), (DECIMAL, pl.Float64)):
        if texts and all(pattern.fullmatch(text) for text in texts):
            return dtype
    return pl.String


def check_series_apart(partitions: Sequence[Partition], ids: Sequence[str], trained: Sequence[str]) -> None:
    """Raise a DataError where a series is in two partitions. The names alone are read; a series takes 12 bytes.

    `trained` are the names of the series of the training, by which ids that are written otherwise are recognised.
    """
    known = {column.name: column.unique().sort().to_list() for column in split_names(trained, ids).iter_columns()}
    hashes, owners = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int32)]
    for number, partition in enumerate(partitions):
        names = partition.read_series(ids, known)
        if names is not None:
            hashes.append(names.hash(seed=0).to_numpy())
            owners.append(np.full(len(names), number, dtype=np.int32))
    all_hashes, owner = np.concatenate(hashes), np.concatenate(owners)
    order = np.argsort(all_hashes, kind="stable")
    owner, equal = owner[order], np.diff(all_hashes[order]) == 0
    for first in np.flatnonzero(equal & (owner[1:] != owner[:-1])).tolist():
        one, other = partitions[owner[first]], partitions[owner[first + 1]]
        names, others = one.read_series(ids, known), other.read_series(ids, known)
        if names is not None and others is not None and len(common := names.filter(names.is_in(others.implode()))):
            raise DataError.series_in_two_partitions(common.min(), one.path, other.path)
