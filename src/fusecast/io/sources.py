"""Where the rows of a run come from: paths, addresses of objects, and queries of databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusecast.errors import DatabaseError
from fusecast.io.databases.address import Query, is_database, is_url, parse_address, without_secrets


def name_source(place: str | None, query: str | None) -> str | Query | None:
    """Return the source that a path or an address names, together with a query where that is a database.

    Raise a DatabaseError where one lacks the other.
    """
    if query is None:
        if place is not None and is_database(place):
            raise DatabaseError.no_query(parse_address(place).shown)
        return place
    if place is None:
        raise DatabaseError.query_without_database(None)
    parse_address(place)
    return Query(place, query)


def locate(source: Any) -> Any:
    """Return a source with an absolute path where it has one: a run is read from other folders too."""
    return Path(source).resolve() if isinstance(source, str | Path) and not is_url(source) else source


def record_source(source: Any) -> dict[str, str | None]:
    """Return what the configuration of a run keeps of its source: no password, and nothing of frames."""
    if isinstance(source, Query):
        return {"data": parse_address(source.url).shown, "query": source.sql}
    return {"data": without_secrets(str(source)) if isinstance(source, str | Path) else None, "query": None}
