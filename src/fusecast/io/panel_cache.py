"""Panels of large Parquet tables, stored in the user's cache folder under a name made of their content and schema."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fusecast.data.arrays import large_files_folder
from fusecast.errors import ArtifactError, DataError
from fusecast.io.atomic import hold_lock, write_text_atomically
from fusecast.io.panel_store import FORMAT, open_panel
from fusecast.io.parquet import ParquetTable
from fusecast.io.streaming import stream_parquet

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.data.schema import Schema

SOURCE = "source.json"
"""File in the folder of a panel that says where its table is, and which content it had."""


def open_streamed(source: str | Path, schema: Schema, *, allow_empty: bool = False) -> tuple[Panel, str]:
    """Return the panel of a Parquet file or folder, mapped from files, and what was done for it, in words.

    Where a table of this content was stored with this schema, that is opened; nothing is read of the table then, unless
    its files have other time stamps. Processes that want the same panel wait for the one that writes it. When the
    content of a table has changed, the panel of the earlier content is removed. Raise a DataError as
    :func:`~fusecast.io.streaming.stream_parquet`.
    """
    table, root = ParquetTable.at(source), large_files_folder()
    table.require_columns(schema.all_names)
    content = table.checksum(root)
    name = _name(content, schema, allow_empty=allow_empty)
    with hold_lock(root / f"{name}.lock"):
        names = [_name(content, schema, allow_empty=each) for each in ((False, True) if allow_empty else (False,))]
        for each in names:
            panel = _open(root, each)
            if panel is not None:
                return panel, f"{source} is read from {root / each}, where an earlier run has stored it"
        panel = stream_parquet(source, schema, root / name, allow_empty=allow_empty)
        if table.checksum(root) != content:
            shutil.rmtree(root / name, ignore_errors=True)
            raise DataError.stream_changed(source)
        place = str(table.path.resolve())
        write_text_atomically(root / name / SOURCE, json.dumps({"path": place, "content": content}))
        resolved = _name(content, panel.schema, allow_empty=allow_empty)  # with its zone, that of a trained model
        if resolved != name:
            write_text_atomically(root / f"{resolved}.name", name)
        _remove_earlier(root, place, content)
    size = sum(file.stat().st_size for file in (root / name).iterdir())
    return (
        panel,
        f"{source} is read from {root / name}, where it is stored for this and later runs ({size:,} bytes)",
    )


def _name(content: str, schema: Schema, *, allow_empty: bool) -> str:
    values = {"format": FORMAT, "content": content, "schema": schema.to_dict(), "allow_empty": allow_empty}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _open(root: Path, name: str) -> Panel | None:
    """Return a stored panel; None where there is none, or it is damaged."""
    with suppress(OSError, UnicodeDecodeError):
        name = (root / f"{name}.name").read_text(encoding="ascii")
    with suppress(ArtifactError):
        return open_panel(root / name)
    return None


def _remove_earlier(root: Path, place: str, content: str) -> None:
    """Remove the panels of a table that had another content; processes that have mapped them are not disturbed."""
    for file in root.glob(f"*/{SOURCE}"):
        with suppress(OSError, ValueError):
            values = json.loads(file.read_text(encoding="utf-8"))
            if values["path"] == place and values["content"] != content:
                shutil.rmtree(file.parent)
