"""Save a panel as a folder of plain arrays, and open it with the arrays mapped into memory.

``panel.json`` holds everything but the arrays: schema, time grid, ids, levels and the columns in order; column k of a
group is ``real_k.npy``, ``category_k.npy``, ``static_real_k.npy`` or ``static_category_k.npy``; the ids as
in the table are in ``ids.arrow``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.data.schema import Schema
from fusecast.data.time_grid import TimeGrid
from fusecast.errors import ArtifactError
from fusecast.io.atomic import flush_to_disk, scratch_folder, translate_write_errors

HEADER = "panel.json"
IDS = "ids.arrow"
"""The ids of the series, of the types of the table; panels of earlier versions have none."""
FORMAT = 1
STEMS = {
    "reals": "real",
    "categories": "category",
    "static_reals": "static_real",
    "static_categories": "static_category",
}
"""Groups of columns in a panel, and the names of their files."""


def save_panel(panel: Panel, folder: str | Path) -> None:
    """Write a panel into a folder, which is created where it does not exist.

    A panel that is mapped from the same folder stays valid: files are replaced, never rewritten.
    """
    with replace_panel(Path(folder)) as scratch:
        write_panel(panel, scratch)


@contextmanager
def replace_panel(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write the files of a panel into; on success they replace those in `folder`.

    The old header is removed first and the new one comes last, so that a kill in between leaves no mixed panel.
    """
    with scratch_folder(".fusecast-panel-", folder) as scratch, translate_write_errors(folder):
        yield scratch
        files = sorted(scratch.iterdir(), key=lambda file: file.name == HEADER)
        for file in files:
            flush_to_disk(file)
        (folder / HEADER).unlink(missing_ok=True)
        for file in files:
            file.replace(folder / file.name)


def write_panel(panel: Panel, folder: Path, stored: Mapping[str, list[str]] | None = None) -> None:
    """Write the files of a panel; `stored` names columns, by group, whose files are in the folder already."""
    for group, stem in STEMS.items():
        for k, values in enumerate(getattr(panel, group).values()):
            np.save(folder / f"{stem}_{k}.npy", values, allow_pickle=False)
    np.save(folder / "indptr.npy", panel.indptr, allow_pickle=False)
    np.save(folder / "start.npy", panel.start, allow_pickle=False)
    if panel.id_columns is not None:
        panel.id_columns.write_ipc(folder / IDS)
    header = {
        "format": FORMAT,
        "schema": panel.schema.to_dict(),
        "clock": asdict(panel.time_grid),
        "ids": panel.ids.tolist(),
        "ids_dtype": "str" if panel.ids.dtype.kind == "U" else panel.ids.dtype.name,
        "levels": {name: list(levels) for name, levels in panel.levels.items()},
        "columns": {group: list(getattr(panel, group)) for group in STEMS} | dict(stored or {}),
    }
    (folder / HEADER).write_text(json.dumps(header, ensure_ascii=False), encoding="utf-8")


def open_panel(folder: str | Path) -> Panel:
    """Open a saved panel, its columns mapped into memory; nothing is unpickled.

    Raise an ArtifactError when the folder holds no panel, or its files are missing or truncated.
    """
    folder = Path(folder)
    path = folder / HEADER
    if not path.is_file():
        raise ArtifactError.missing(path, "a folder written by `save_panel`")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        if header["format"] > FORMAT:
            raise ArtifactError.newer(path, header["format"], FORMAT)
        ids = np.array(header["ids"], dtype=header["ids_dtype"])
        schema, time_grid = Schema.from_dict(header["schema"]), TimeGrid(**header["clock"])
        levels = {name: tuple(values) for name, values in header["levels"].items()}
        columns: Mapping[str, list[str]] = {group: header["columns"][group] for group in STEMS}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError.unreadable(path, f"{type(error).__name__}: {error}") from error
    id_columns = None
    if (folder / IDS).is_file():
        try:
            id_columns = pl.read_ipc((folder / IDS).read_bytes())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ArtifactError.unreadable(folder / IDS, str(error).splitlines()[0]) from error
        if len(id_columns) != len(ids):
            raise ArtifactError.unreadable(folder / IDS, f"expected {len(ids)} ids, not {len(id_columns)}")
    indptr = np.array(open_array(folder / "indptr.npy", np.int64, len(ids) + 1))
    arrays = {
        group: {
            name: open_array(
                folder / f"{stem}_{k}.npy",
                np.float64 if "real" in stem else np.int32,
                len(ids) if "static" in stem else int(indptr[-1]),
            )
            for k, name in enumerate(columns[group])
        }
        for group, stem in STEMS.items()
    }
    return Panel(
        schema=schema,
        time_grid=time_grid,
        ids=ids,
        id_columns=id_columns,
        indptr=indptr,
        start=np.array(open_array(folder / "start.npy", np.int64, len(ids))),
        levels=levels,
        **arrays,
    )


def open_array(path: Path, dtype: type[np.generic], length: int) -> NDArray[Any]:
    """Map an array read-only, checked against the type and length stated in the header."""
    if not path.is_file():
        raise ArtifactError.missing(path, "an array of a saved panel")
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r" if length else None, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError.unreadable(path, str(error)) from error
    if values.dtype != dtype or values.shape != (length,):
        reason = f"expected {np.dtype(dtype)} of length {length}, not {values.dtype} {values.shape}"
        raise ArtifactError.unreadable(path, reason)
    return values
