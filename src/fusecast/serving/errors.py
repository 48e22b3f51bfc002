"""Every error of the server as JSON: what is wrong, where, and what to do; never a trace."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from fusecast.errors import ConfigError, DataError, FusecastError, SchemaError
from fusecast.errors.base import did_you_mean

CODES: Mapping[type[FusecastError], str] = {DataError: "data", SchemaError: "schema", ConfigError: "options"}
"""Errors that a client can correct; every other one is of the server."""
_FIELD = re.compile(r"\b(?:column|target|the change of|levels? of|option) (?:'([^']*)'|\"([^\"]*)\")")
_SERIES = re.compile(r"\bseries (?:'([^']*)'|\"([^\"]*)\")")
_ROW = re.compile(r"\brow ([\d,]+)")


class RequestError(Exception):
    """A request that is refused, with its status and what the client is told."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        *,
        field: str | None = None,
        series: str | None = None,
        row: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, _clean(message), _clean(hint)
        self.row, self.headers = row, dict(headers or {})
        self.field, self.series = (None if name is None else _clean(name) for name in (field, series))

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the answer."""
        names = ("code", "message", "hint", "field", "series", "row")
        return {"error": {name: getattr(self, name) for name in names}}

    @classmethod
    def from_error(cls, error: FusecastError, row: int | None = None) -> Self:
        """Return the answer to what is wrong with a table or an option, in the words of the error."""
        code = next(name for kind, name in CODES.items() if isinstance(error, kind))
        lines = str(error).splitlines()
        hints = [line.removeprefix("Hint: ") for line in lines if line.startswith("Hint: ")]
        message = "\n".join(line for line in lines if not line.startswith("Hint: "))
        rows = _ROW.search(message)
        found = {"field": _first(_FIELD, message), "series": _first(_SERIES, message)}
        number = int(rows[1].replace(",", "")) if rows else row
        return cls(422, code, message, "\n".join(hints), field=found["field"], series=found["series"], row=number)

    @classmethod
    def wrong_request(cls, message: str, hint: str = "", field: str | None = None, row: int | None = None) -> Self:
        return cls(422, "request", message, hint, field=field, row=row)

    @classmethod
    def unknown_model(cls, name: str | None, available: Sequence[str]) -> Self:
        if name is None:
            return cls(404, "no_model", "there is no model yet")
        hint = did_you_mean(name, available).removeprefix("Hint: ") if available else ""
        return cls(404, "unknown_model", f"there is no model {name!r}", hint, field="model")

    @classmethod
    def no_key(cls) -> Self:
        hint = "send it as the header `Authorization: Bearer KEY` or `X-API-Key: KEY`"
        return cls(
            401, "key", "a key is needed, and this one opens nothing", hint, headers={"WWW-Authenticate": "Bearer"}
        )

    @classmethod
    def too_large(cls, what: str, limit: int, unit: str) -> Self:
        hint = "send fewer series, or only the last rows of each: those before the lookback change little"
        return cls(413, "too_large", f"{what} has more than {limit:,} {unit}", hint)

    @classmethod
    def too_much_memory(cls, what: str) -> Self:
        return cls(
            413, "too_large", f"{what} needs more memory than one request may take", "send fewer rows or columns"
        )

    @classmethod
    def too_slow(cls, seconds: float) -> Self:
        return cls(408, "slow", f"the body was not whole after {seconds:g} s", headers={"Connection": "close"})

    @classmethod
    def unsupported(cls, kind: str, kinds: Sequence[str]) -> Self:
        return cls(415, "content_type", f"a body of type {kind!r} cannot be read", f"send one of {', '.join(kinds)}")

    @classmethod
    def queue_full(cls, seconds: int) -> Self:
        message = "too many requests are waiting"
        return cls(429, "busy", message, f"try again in {seconds} s", headers={"Retry-After": str(seconds)})

    @classmethod
    def deadline(cls, seconds: float) -> Self:
        return cls(504, "deadline", f"there was no answer within {seconds:g} s", "send fewer series or rows")

    @classmethod
    def closing(cls) -> Self:
        headers = {"Retry-After": "1", "Connection": "close"}
        return cls(503, "closing", "the server is shutting down", "try again", headers=headers)

    @classmethod
    def internal(cls, request_id: str) -> Self:
        hint = f"the log of the server has the details under the id {request_id}"
        return cls(500, "internal", "the server failed to answer", hint)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return next((group for group in found.groups() if group is not None), None) if found else None


def _clean(text: str) -> str:
    """Return a text that can be written as UTF-8: JSON may hold halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")
