"""Storage: a panel as a folder of plain arrays that can be mapped into memory.

``panel.json`` names everything else: schema, clock, ids, levels and the columns in order; column k of a group is
``real_k.npy``, ``category_k.npy``, ``static_real_k.npy`` or ``static_category_k.npy``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.data.schema import Schema
from fusecast.data.time_grid import TimeGrid
from fusecast.errors import ArtifactError

HEADER = "panel.json"
FORMAT = 1
GROUPS = {
    "reals": "real",
    "categories": "category",
    "static_reals": "static_real",
    "static_categories": "static_category",
}


def save_panel(panel: Panel, folder: Path) -> None:
    """Write a panel; a panel mapped from the same folder stays valid, for files are replaced and never rewritten."""
    folder.mkdir(parents=True, exist_ok=True)
    for group, stem in GROUPS.items():
        for k, values in enumerate(getattr(panel, group).values()):
            write_array(folder / f"{stem}_{k}.npy", values)
    write_header(panel, folder, {group: list(getattr(panel, group)) for group in GROUPS})


def write_header(panel: Panel, folder: Path, columns: Mapping[str, list[str]]) -> None:
    """Write what a panel holds besides its columns; the header comes last and says that all is there."""
    write_array(folder / "indptr.npy", panel.indptr)
    write_array(folder / "start.npy", panel.start)
    header = {
        "format": FORMAT,
        "schema": panel.schema.to_dict(),
        "clock": panel.clock.to_dict(),
        "ids": panel.ids.tolist(),
        "ids_dtype": "str" if panel.ids.dtype.kind == "U" else panel.ids.dtype.name,
        "levels": {name: list(levels) for name, levels in panel.levels.items()},
        "columns": dict(columns),
    }
    partial = folder / f"{HEADER}.partial"
    partial.write_text(json.dumps(header, ensure_ascii=False), encoding="utf-8")
    partial.replace(folder / HEADER)


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array beside its place, then move it there."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, values, allow_pickle=False)
    partial.replace(path)


def open_panel(folder: Path) -> Panel:
    """Open a panel; see :meth:`Panel.open`."""
    path = folder / HEADER
    if not path.is_file():
        raise ArtifactError.missing(path, "a folder that Panel.save wrote")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        if header["format"] > FORMAT:
            raise ArtifactError.newer(path, header["format"], FORMAT)
        ids = np.array(header["ids"], dtype=header["ids_dtype"])
        schema, clock = Schema.from_dict(header["schema"]), TimeGrid.from_dict(header["clock"])
        levels = {name: tuple(each) for name, each in header["levels"].items()}
        columns: Mapping[str, list[str]] = {group: header["columns"][group] for group in GROUPS}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError.unreadable(path, f"{type(error).__name__}: {error}") from error
    indptr = read_array(folder / "indptr.npy", np.int64, len(ids) + 1)
    arrays = {
        group: {
            name: read_array(
                folder / f"{stem}_{k}.npy",
                np.float64 if "real" in stem else np.int32,
                len(ids) if "static" in stem else int(indptr[-1]),
            )
            for k, name in enumerate(columns[group])
        }
        for group, stem in GROUPS.items()
    }
    return Panel(
        schema=schema,
        clock=clock,
        ids=ids,
        indptr=indptr,
        start=read_array(folder / "start.npy", np.int64, len(ids)),
        levels=levels,
        **arrays,
    )


def read_array(path: Path, dtype: type[np.generic], length: int) -> NDArray[Any]:
    """Map an array read-only, checked against the type and length that the header promises."""
    if not path.is_file():
        raise ArtifactError.missing(path, "an array of a saved panel")
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r" if length else None, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError.unreadable(path, str(error)) from error
    if values.dtype != dtype or values.shape != (length,):
        reason = f"expected {np.dtype(dtype)} of length {length}, found {values.dtype} {values.shape}"
        raise ArtifactError.unreadable(path, reason)
    return values
