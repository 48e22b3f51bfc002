"""Addresses of tables that are no files on this machine: databases by URL, and objects in stores; without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

from fusecast.errors import ConfigError, DatabaseError

Kind = Literal["duckdb", "sqlite", "postgresql"]
"""A kind of database."""
OBJECT_STORES = (
    *("s3", "s3a", "gs", "gcs", "az", "azure", "adl", "abfs", "abfss", "hf", "http", "https", "file"),
)  # what polars reads
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
SECRET_OPTIONS = ("password", "sslpassword")
SECRET_IN_SQL = re.compile(
    r"""\b(password|passwd|pwd)\s*=\s*\S|\b(password|secret)\s+'|://[^/\s:@'"]*:[^@\s/'"]+@""", re.IGNORECASE
)
IN_MEMORY = ":memory:"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a database is."""

    kind: Kind
    shown: str
    """Its URL, with an absolute path and without a password."""
    path: Path | None = None
    """Its file; None for a server, and for one in memory."""
    uri: str = field(default="", repr=False)
    """What its driver connects to, with the password."""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def redact(self, text: str) -> str:
        """Return a text without the passwords."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def is_url(source: object) -> bool:
    """Return whether a source is the address of a database or of an object in a store, not a path."""
    return isinstance(source, str) and URL.fullmatch(source) is not None


def is_database(source: object) -> bool:
    """Return whether a source is the address of a database."""
    return isinstance(source, str) and kind_of(source) in get_args(Kind)


def kind_of(source: str) -> str | None:
    """Return the kind of a database, or else the scheme of a URL; None for a path."""
    match = URL.fullmatch(source)
    if match is None:
        return None
    scheme = match[1].lower().partition("+")[0]  # SQLAlchemy names the driver too
    return "postgresql" if scheme == "postgres" else scheme


def parse_address(url: str) -> Address:
    """Return the address of a database; raise a DatabaseError without its password where it is malformed."""
    kind = kind_of(url)
    match = URL.fullmatch(url)
    if kind is None or match is None or kind in OBJECT_STORES:
        raise DatabaseError.query_without_database(without_secrets(url))
    rest = match[2].strip()
    if kind == "postgresql":
        return _parse_server(rest)
    if kind in get_args(Kind):
        return _parse_file("duckdb" if kind == "duckdb" else "sqlite", rest)
    raise DatabaseError.unknown_kind(match[1], OBJECT_STORES)


def _parse_file(kind: Literal["duckdb", "sqlite"], rest: str) -> Address:
    """Return the address of a database in a file, from what follows the first two slashes."""
    if kind == "duckdb" and rest in ("", "/", f"/{IN_MEMORY}"):
        return Address(kind=kind, shown=f"duckdb:///{IN_MEMORY}")
    host, slash, path = rest.partition("/")
    if host or not slash:
        raise DatabaseError.malformed(kind, "has two slashes, and needs a third before the path of its file")
    if not path or path == IN_MEMORY:
        raise DatabaseError.malformed(kind, "names no file")
    if "?" in path:
        raise DatabaseError.malformed(kind, "has options after a question mark, which are not read")
    absolute = Path(path).resolve()
    return Address(kind=kind, shown=f"{kind}:///{absolute}", path=absolute)


def _parse_server(rest: str) -> Address:
    """Return the address of a PostgreSQL server, from what follows the first two slashes.

    The password is encoded anew, so that libpq never quotes a part of it as something else.
    """
    place, question, options = rest.partition("?")
    authority, slash, name = place.partition("/")
    *users, host = authority.split("@")
    if len(users) > 1 or "@" in name:
        raise DatabaseError.special_characters("postgresql")
    secrets, user, colon, password = [], "", "", ""
    if users:
        user, colon, password = (unquote(part) for part in users[0].partition(":"))
        secrets.append(password)
    shown_options, all_options = [], []
    for option in options.split("&") if question else ():
        key, _, value = option.partition("=")
        if key.lower() in SECRET_OPTIONS:
            secrets.append(unquote(value))
            all_options.append(f"{key}={quote(unquote(value), safe='')}")
        else:
            shown_options.append(option)
            all_options.append(option)
    login = quote(user, safe="")

    def join(login: str, options: list[str]) -> str:
        at = "@" if users else ""
        return f"postgresql://{login}{at}{host}{slash}{name}" + (f"?{'&'.join(options)}" if options else "")

    encoded = quote(password, safe="")
    return Address(
        kind="postgresql",
        shown=join(login, shown_options),
        uri=join(f"{login}:{encoded}" if colon else login, all_options),
        secrets=tuple({text for secret in secrets if secret for text in (secret, quote(secret, safe=""))}),
    )


def without_secrets(source: str) -> str:
    """Return an address as it may be shown and stored: without passwords, and without the signature of an object."""
    match = URL.fullmatch(source)
    if match is None:
        return source
    if is_database(source):
        try:
            return parse_address(source).shown
        except DatabaseError:
            return f"{match[1]}://..."
    authority, slash, path = match[2].partition("?")[0].partition("/")
    user, at, host = authority.rpartition("@")
    return f"{match[1]}://{user.partition(':')[0]}{at}{host}{slash}{path}"


@dataclass(frozen=True, repr=False)
class Query:
    """A table that a database computes: its `url`, and the `sql` that returns the rows.

    The URL is ``duckdb:///shop.db``, ``sqlite:///shop.db`` (four slashes before an absolute path) or
    ``postgresql://user@host/name``. Databases are opened for reading. A run keeps the SQL and the URL without its
    password, which is then read from PGPASSWORD or from the file ``~/.pgpass``. Raise a DatabaseError where the SQL
    holds a password.

    >>> Query("postgresql://ada:secret@db/shop", "select * from sales")
    Query('postgresql://ada@db/shop', 'select * from sales')
    """

    url: str
    sql: str

    def __post_init__(self) -> None:
        if SECRET_IN_SQL.search(self.sql):
            raise DatabaseError.secret_in_query()

    def __repr__(self) -> str:
        return f"Query({without_secrets(self.url)!r}, {self.sql!r})"


def import_driver(address: Address) -> Any:
    """Return the library that a database is reached with; raise a ConfigError with the line that installs it."""
    name = {"duckdb": "duckdb", "sqlite": "sqlite3", "postgresql": "adbc_driver_postgresql.dbapi"}[address.kind]
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError.missing_extra(f"{address.kind}://", name.partition(".")[0], "database") from None


@contextmanager
def translate_driver_errors(what: str, address: Address, driver: Any) -> Iterator[None]:
    """Raise a DatabaseError in place of an error of a driver; `what` was done is said."""
    try:
        yield
    except (driver.Error, driver.Warning) as error:
        reason = address.redact(str(error)).partition("\n\nQuery was:")[0].strip()
        hint = ""
        if address.kind == "postgresql" and "connect" in reason:
            hint = "a password is read from PGPASSWORD or ~/.pgpass where the address has none: runs keep none"
        raise DatabaseError.failed(what, address.shown, reason, hint) from None
