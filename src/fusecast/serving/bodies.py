"""The bodies of requests: read with limits, and turned into tables and options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fusecast.errors.base import did_you_mean
from fusecast.io.documents import parse_json
from fusecast.io.tables import read_table
from fusecast.serving.decoding import decode_table
from fusecast.serving.errors import RequestError
from fusecast.serving.settings import Settings

JSON, FORM = "application/json", "multipart/form-data"
TABLES: Mapping[str, str] = {
    "text/csv": "a text with a header line",
    "application/vnd.apache.parquet": "a Parquet file",
    "application/vnd.apache.arrow.stream": "an Arrow stream",
    "application/vnd.apache.arrow.file": "an Arrow file",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "a spreadsheet",
    "application/octet-stream": "any of these, recognised by its content",
}
"""Media types of bodies that are a table by themselves."""

CELL: dict[str, Any] = {"type": ["number", "string", "boolean", "null"]}
ROWS: dict[str, Any] = {"type": "array", "items": {"type": "object", "additionalProperties": CELL}}
COLUMNS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "array", "items": CELL}}
Table = Annotated[Any, WithJsonSchema({"anyOf": [ROWS, COLUMNS], "description": "rows, or columns"})]
OptionalTable = Annotated[Any, WithJsonSchema({"anyOf": [ROWS, COLUMNS, {"type": "null"}]})]
Change = Annotated[Any, WithJsonSchema({"anyOf": [CELL, {"type": "array", "items": CELL}]})]


BODIES = 8
"""Bodies of the largest size that may be in memory at once; of smaller ones there may be more."""


class Options(BaseModel):
    """What may be said beside the tables."""

    model_config = ConfigDict(extra="forbid")

    quantiles: list[float] | None = Field(None, description="levels, rising within (0, 1); those of the training")
    raw: bool = Field(False, description="quantiles of the networks alone, without the calibration")
    partial: bool = Field(False, description="mask known values that the plan lacks")
    explanation: bool = Field(False, description="importances of the variables, and attention to past steps")
    history_rows: int = Field(0, ge=0, le=100_000, description="last known rows of each series in the answer")
    columns: dict[str, str] = Field({}, description="names in the model of columns that the tables name otherwise")


class ForecastRequest(Options):
    """A table, the plan of its future, and options."""

    history: Table
    plan: OptionalTable = None
    series: list[str] | None = Field(None, description="names of the series to forecast; all")


class WhatIfRequest(Options):
    """The same, and other values of known columns: a value for all steps, or one value a step."""

    history: Table
    plan: OptionalTable = None
    changes: dict[str, Change]
    series: list[str] | None = Field(None, description="names of the series to change; all")


class ErrorDetail(BaseModel):
    """What is wrong, where, and what to do."""

    code: str
    message: str
    hint: str
    field: str | None
    series: str | None
    row: int | None


class ErrorAnswer(BaseModel):
    """The body of every answer that is no result."""

    error: ErrorDetail


def describe_body(kind: type[Options], *, tables: bool = False) -> dict[str, Any]:
    """Return the body of a route for OpenAPI: JSON, a form, and tables by themselves."""
    schema = kind.model_json_schema()
    file = {"type": "string", "format": "binary"}
    parts = {name: {"type": "string"} for name in schema["properties"]} | {"history": file, "plan": file}
    form = {"type": "object", "properties": parts, "required": schema["required"]}
    content: dict[str, Any] = {JSON: {"schema": schema}, FORM: {"schema": form}}
    if tables:
        content |= {media: {"schema": file} for media in TABLES}
    return {"requestBody": {"required": True, "content": content}}


@dataclass(frozen=True, eq=False)
class Call:
    """What a client asks for; its tables are not decoded yet."""

    options: Options
    history: Any  # bytes of a file, or plain values
    plan: Any = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    series: list[str] | None = None


def limit_body(request: Request, settings: Settings) -> Request:
    """Return a request whose body ends in a RequestError where it is too large, or comes too slowly.

    It does so too where all bodies together take too much memory.
    """
    read, receive = 0, request.receive
    gate, facts = request.app.state.gate, request.state.facts
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > settings.max_bytes:
        raise RequestError.too_large("the body", settings.max_bytes, "bytes")
    ends = asyncio.get_running_loop().time() + settings.body_timeout

    async def receive_limited() -> Any:
        nonlocal read
        try:
            async with asyncio.timeout_at(ends):
                message = await receive()
        except TimeoutError:
            raise RequestError.too_slow(settings.body_timeout) from None
        size = len(message.get("body", b""))
        read += size
        facts.bytes += size
        gate.body_bytes += size
        if gate.body_bytes > BODIES * settings.max_bytes:
            raise RequestError.queue_full(1)
        if read > settings.max_bytes:
            raise RequestError.too_large("the body", settings.max_bytes, "bytes")
        return message

    return Request(request.scope, receive_limited)


async def read_call(request: Request, settings: Settings, kind: type[Options] = ForecastRequest) -> Callable[[], Call]:
    """Read the body of a forecast or a what-if, and return what understands it, in the thread of a worker.

    Both raise a RequestError where that cannot be.
    """
    request, media = limit_body(request, settings), _media_of(request)
    if media == JSON:
        body = await request.body()
        return lambda: read_json(body, kind)
    if media == FORM:
        parts = await read_parts(request, settings)
        return lambda: understand_parts(parts, kind)
    if media in TABLES and kind is ForecastRequest:
        body, query = await request.body(), _options_of(request)
        return lambda: _to_call(validate(kind, {**_from_texts(query), "history": body}))
    kinds = [JSON, FORM, *(TABLES if kind is ForecastRequest else ())]
    raise RequestError.unsupported(media or "unknown", kinds)


def _media_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _options_of(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name != "model"}


def read_json(body: bytes, kind: type[Options]) -> Call:
    """Read a request in JSON."""
    try:
        values = parse_json(body)
    except ValueError as error:
        raise RequestError.wrong_request(f"the body cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise RequestError.wrong_request("the body must be an object with `history`")
    return _to_call(validate(kind, values))


async def read_form(request: Request, settings: Settings) -> FormData:
    """Read the parts of a form."""
    try:
        return await request.form(max_files=2, max_fields=16, max_part_size=settings.max_bytes)
    except HTTPException as error:
        raise RequestError.wrong_request(f"the form cannot be read: {error.detail}") from None


async def read_parts(request: Request, settings: Settings) -> dict[str, bytes | str]:
    """Return the files of a form as bytes, and its other parts as texts; the names of files are not looked at."""
    form, parts = await read_form(request, settings), dict[str, bytes | str]()
    try:
        for name, value in form.multi_items():
            if name in parts:
                raise RequestError.wrong_request(f"the form has {name!r} twice", field=name)
            parts[name] = await value.read() if isinstance(value, UploadFile) else value
    finally:
        await form.close()
    return parts


async def read_file(request: Request, settings: Settings, name: str) -> bytes:
    """Return the file that is a body by itself, or has a name in a form; raise a RequestError where there is none."""
    request, media = limit_body(request, settings), _media_of(request)
    if media in TABLES:
        return await request.body()
    if media == FORM:
        return require_file(await read_parts(request, settings), name)
    raise RequestError.unsupported(media or "unknown", [FORM, *TABLES])


def require_file(parts: Mapping[str, bytes | str], name: str) -> bytes:
    """Return a file of a form; raise a RequestError where there is none."""
    file = parts.get(name)
    if not isinstance(file, bytes):
        raise RequestError.wrong_request(f"the form has no file {name!r}", field=name)
    return file


def understand_parts(parts: Mapping[str, bytes | str], kind: type[Options]) -> Call:
    """Read a request in the parts of a form: the tables are files, the options texts or JSON."""
    require_file(parts, "history")
    if "plan" in parts:
        require_file(parts, "plan")
    texts = {name: part for name, part in parts.items() if isinstance(part, str)}
    return _to_call(validate(kind, {**parts, **_from_texts(texts)}))


def _to_call(wanted: Any) -> Call:
    changes, series = getattr(wanted, "changes", {}), getattr(wanted, "series", None)
    return Call(history=wanted.history, plan=wanted.plan, options=wanted, changes=changes, series=series)


def _from_texts(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of options: JSON; `quantiles` also as numbers with commas between, `series` also as a name."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            values[name] = parse_json(text)
        except ValueError:
            values[name] = text.split(",") if name == "quantiles" else text
        if name in ("quantiles", "series") and not isinstance(values[name], list | None):
            values[name] = [values[name] if name == "quantiles" else text]
    return values


def validate(kind: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """Return the options of a request; raise a RequestError that names the field where one is wrong."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(name, kind.model_fields).removeprefix("Hint: ")
            raise RequestError.wrong_request(f"there is no option {name!r}", hint, field=name) from None
        raise RequestError.wrong_request(f"{name!r}: {first['msg']}", field=name) from None


def to_frame(table: Any, name: str, keys: tuple[str, ...], settings: Settings) -> pl.DataFrame | None:
    """Return the table of a request; `keys` are columns that hold names. None for None.

    Raise a RequestError where it is too large or no table, and a DataError where it cannot be read.
    """
    if table is None:
        return None
    if isinstance(table, bytes):
        return decode_table(table, name, keys, settings)
    return read_table(to_columns(table, name, settings), keys=keys)


def to_columns(table: Any, name: str, settings: Settings) -> dict[str, list[Any]]:
    """Return the columns of a table in JSON, of numbers, texts, truth values and nulls alone."""
    if isinstance(table, list):
        for number, row in enumerate(table):
            if not isinstance(row, dict):
                raise RequestError.wrong_request(f"row {number} of {name!r} is no object", field=name, row=number)
        names = dict.fromkeys(column for row in table for column in row)
        _limit_cells(len(table), len(names), name, settings)
        columns = {column: [row.get(column) for row in table] for column in names}
    elif isinstance(table, dict):
        for column, values in table.items():
            if not isinstance(values, list):
                raise RequestError.wrong_request(f"column {column!r} of {name!r} is no list", field=column)
        lengths = {len(values) for values in table.values()}
        if len(lengths) > 1:
            raise RequestError.wrong_request(f"the columns of {name!r} have different lengths", field=name)
        _limit_cells(max(lengths, default=0), len(table), name, settings)
        columns = table
    else:
        raise RequestError.wrong_request(
            f"{name!r} must be a list of rows or an object of columns", "paths and addresses are not read", field=name
        )
    for column, values in columns.items():
        if {type(value) for value in values} - {int, float, str, bool, type(None)}:
            row = next(n for n, value in enumerate(values) if isinstance(value, dict | list))
            raise RequestError.wrong_request(
                f"column {column!r} holds no single value in row {row}", field=column, row=row
            )
    return columns


def _limit_cells(rows: int, columns: int, name: str, settings: Settings) -> None:
    if rows > settings.max_rows:
        raise RequestError.too_large(f"the table {name!r}", settings.max_rows, "rows")
    if rows * columns > settings.max_cells:
        raise RequestError.too_large(f"the table {name!r}", settings.max_cells, "cells")
