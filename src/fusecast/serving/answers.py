"""Tables as answers: JSON, CSV, Arrow and Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from fusecast.errors.base import shorten

JSON, CSV, PARQUET, ARROW = (
    "application/json",
    "text/csv",
    "application/vnd.apache.parquet",
    "application/vnd.apache.arrow.stream",
)
TABLES = (CSV, PARQUET, ARROW)


def choose_media(accept: str) -> str:
    """Return the first media type that a client accepts and that is written here, JSON for all others."""
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((media for media in wanted if media in (JSON, *TABLES)), JSON)


def write_frame(frame: pl.DataFrame, media: str) -> bytes:
    """Return a table as bytes of a media type other than JSON."""
    buffer = io.BytesIO()
    writers: Mapping[str, Callable[[Any], object]] = {
        CSV: frame.write_csv,
        PARQUET: frame.write_parquet,
        ARROW: frame.write_ipc_stream,
    }
    writers[media](buffer)
    return buffer.getvalue()


def to_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as plain values: times as ISO 8601 has them, NaN and infinite numbers as None.

    Lists and the like, which a table may hold in columns that nobody uses, are texts.
    """
    times = [name for name, dtype in frame.schema.items() if dtype.is_temporal()]
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    texts = [
        pl.Series(column.name, [None if value is None else shorten(value) for value in column.to_list()])
        for column in frame.iter_columns()
        if column.dtype.is_nested() or column.dtype == pl.Object
    ]
    plain = frame.with_columns(*texts).with_columns(
        pl.col(times).dt.to_string("iso:strict").str.replace(".000000", "", literal=True),
        *(pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in floats),
    )
    return plain.to_dicts()


def write_json(values: Any) -> bytes:
    """Return plain values as JSON."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
