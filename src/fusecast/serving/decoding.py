"""Tables in the bytes of files: CSV, Parquet, Arrow and spreadsheets, recognised by their content."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import polars as pl

from fusecast.errors import DataError, FusecastError
from fusecast.io.tables import read_table
from fusecast.serving.errors import RequestError
from fusecast.serving.settings import Settings

MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".stream", b"PK\x03\x04": ".xlsx"}


def find_kind(content: bytes) -> str:
    """Return the ending that files with this content have."""
    return next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), ".csv")


def decode_table(content: bytes, name: str, keys: tuple[str, ...], settings: Settings) -> pl.DataFrame:
    """Return the table in the bytes of a file."""
    kind = find_kind(content)
    with tempfile.TemporaryDirectory(prefix="fusecast-table-") as folder:
        path = Path(folder) / f"{name}{kind}"
        path.write_bytes(content)
        try:
            if kind == ".xlsx":
                frame = read_table(pl.read_excel(io.BytesIO(content)), keys=keys)
            elif kind == ".stream":
                frame = read_table(pl.read_ipc_stream(io.BytesIO(content)), keys=keys)
            else:
                frame = read_table(path, keys=keys)
        except FusecastError as error:
            raise type(error)(str(error).replace(str(path), path.name)) from None
        except Exception as error:  # noqa: BLE001
            raise DataError.unreadable_file(name, str(error).splitlines()[0]) from None
    if len(frame) > settings.max_rows:
        raise RequestError.too_large(f"the table {name!r}", settings.max_rows, "rows")
    return frame
