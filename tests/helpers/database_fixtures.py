"""Databases: DuckDB and SQLite in files, and PostgreSQL where `make test-postgres` runs a server."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from tests.helpers.postgres import VARIABLE

from fusecast.io.databases.address import parse_address


@dataclass
class Store:
    """A database, and what a test asks it by its own driver."""

    kind: str
    url: str

    @property
    def password(self) -> str:
        """The password in the URL of a server."""
        return unquote(urlsplit(self.url).password or "")

    @property
    def url_without_password(self) -> str:
        return self.url.replace(f":{urlsplit(self.url).password}@", "@")

    def connect(self) -> Any:
        address = parse_address(self.url)
        if self.kind == "duckdb":
            import duckdb

            return duckdb.connect(address.path)
        if self.kind == "sqlite":
            return sqlite3.connect(address.path)
        import adbc_driver_postgresql.dbapi

        return adbc_driver_postgresql.dbapi.connect(self.url)

    def execute(self, *statements: str) -> None:
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]


def server_url() -> str:
    """Return the URL of the server of `make test-postgres`; skip the test without one."""
    url = os.environ.get(VARIABLE)
    if not url:
        pytest.skip("no PostgreSQL server: run `make test-postgres`")
    pytest.importorskip("adbc_driver_postgresql")
    return url


def create_store(kind: str, folder: Path) -> Store:
    """Return a new, empty database: a file in a folder, or a schema of the server."""
    if kind == "duckdb":
        pytest.importorskip("duckdb")
    if kind != "postgresql":
        return Store(kind, f"{kind}:///{folder / 'shop.db'}")
    schema = f"test_{os.getpid()}_{abs(hash(str(folder)))}"
    Store(kind, server_url()).execute(f"create schema {schema}")
    return Store(kind, f"{server_url()}?options=-csearch_path%3D{schema}")


KINDS = ("duckdb", "sqlite", "postgresql")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty database of each kind."""
    return create_store(request.param, tmp_path)
