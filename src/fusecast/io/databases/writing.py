"""Append forecasts to a table of a database: all rows or none, and none twice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from fusecast.errors import ArtifactError, DatabaseError
from fusecast.io.databases.address import Address, import_driver, parse_address, translate_driver_errors

RUN_ID, CUTOFF, FORECASTS = "run_id", "cutoff", "forecasts"
NEW_ROWS = "_fusecast_new_rows"
"""Name of the new rows in the database, until they are in the table."""
WIDER = {("BIGINT", "INTEGER"), ("bigint", "integer"), ("character varying", "text")}
"""Types of a column that hold every value of a column of another type."""
SQLITE_TYPES = {pl.Boolean: "BOOLEAN", pl.Date: "DATE", pl.Datetime: "TIMESTAMP", pl.String: "TEXT"}


def append_forecasts(frame: Any, url: str, *, run_id: str, table: str = FORECASTS) -> None:
    """Append `frame`, the forecasts that `predict` returns, to a table of the database `url`, with a column ``run_id``.

    The table is created where there is none (and the file, of duckdb and sqlite). All rows are appended in one
    transaction, or none; they replace those of the same run, series and cutoff, so that a repetition changes nothing.
    `table` is a name, or a schema and a name: ``sales.forecasts``.

    Raise a DatabaseError where the table has other columns or the database refuses, a ConfigError where its driver is
    not installed, and an ArtifactError where the folder of its file is missing.
    """
    address = parse_address(url)
    names = split_name(table)
    rows = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
    if RUN_ID in rows.columns:
        raise DatabaseError.reserved_column(RUN_ID)
    if CUTOFF not in rows.columns:
        raise DatabaseError.no_forecasts(rows.columns)
    rows = rows.select(pl.lit(run_id).alias(RUN_ID), pl.all()).with_columns(
        pl.selectors.datetime().dt.cast_time_unit("us"), pl.selectors.categorical().cast(pl.String)
    )
    keys = [*rows.columns[1 : rows.columns.index(CUTOFF) - 1], CUTOFF]  # the id, where there is one; not the time
    driver = import_driver(address)
    with translate_driver_errors("writing to", address, driver), open_to_write(address, driver) as database:
        database.begin(quote_name(names))
        present = database.columns(names)
        database.stage(rows if present is None else match_dates(rows, present))
        wanted = database.columns((NEW_ROWS,))
        assert wanted is not None
        if present is None:
            declared = ", ".join(f"{quote_name((name,))} {kind}" for name, kind in wanted.items())
            database.execute(f"create table {quote_name(names)} ({declared})")
        else:
            check_columns(address, table, present, wanted)
        database.replace(quote_name(names), list(wanted), keys, run_id)
        database.commit()


def check_database(url: str, table: str = FORECASTS) -> None:
    """Check, before the work, that a database can be opened to be written, and that `table` names a table.

    Raise the errors of :func:`append_forecasts`, but those of the columns.
    """
    address = parse_address(url)
    split_name(table)
    driver = import_driver(address)
    with translate_driver_errors("writing to", address, driver), open_to_write(address, driver):
        pass


def split_name(table: str) -> tuple[str, ...]:
    """Return the parts of the name of a table, its schema first; raise a DatabaseError where it is none."""
    parts = tuple(part.strip() for part in table.split("."))
    if len(parts) > 2 or not all(parts) or "\0" in table:
        raise DatabaseError.wrong_table_name(table)
    return parts


def quote_name(parts: Sequence[str]) -> str:
    """Return a name as SQL has it, whatever letters it has."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def match_dates(rows: pl.DataFrame, present: Mapping[str, str]) -> pl.DataFrame:
    """Return rows with dates as times where the table has times, and times at midnight as dates where it has dates."""
    casts = []
    for column in rows.iter_columns():
        kind = present.get(column.name, "").lower()
        if column.dtype == pl.Date and kind in ("timestamp", "timestamp without time zone"):
            casts.append(column.cast(pl.Datetime("us")))
        elif column.dtype == pl.Datetime("us") and kind == "date" and (column.dt.truncate("1d") == column).all():
            casts.append(column.cast(pl.Date))
    return rows.with_columns(casts)


def check_columns(address: Address, table: str, present: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise a DatabaseError where a table has other columns than the forecasts, or of types that cannot hold them."""
    lacking, unknown = [n for n in wanted if n not in present], [n for n in present if n not in wanted]
    if lacking or unknown:
        raise DatabaseError.other_columns(address.shown, table, lacking, unknown)
    types = {name: (present[name], kind) for name, kind in wanted.items()}
    if other := {name: pair for name, pair in types.items() if pair[0] != pair[1] and pair not in WIDER}:
        raise DatabaseError.other_types(address.shown, table, other)


@dataclass
class Database(ABC):
    """An open database of any kind, in a transaction that ends with :meth:`commit`, or leaves nothing."""

    cursor: Any  # of the driver, or its connection

    @abstractmethod
    def begin(self, table: str) -> None:
        """Begin a transaction, one at a time for a table."""

    @abstractmethod
    def stage(self, rows: pl.DataFrame) -> None:
        """Make rows a table of the connection alone."""

    @abstractmethod
    def columns(self, names: Sequence[str]) -> dict[str, str] | None:
        """Return the columns of a table and their types; None where there is no such table."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Execute a statement."""
        return self.cursor.execute(sql, parameters) if parameters else self.cursor.execute(sql)

    def replace(self, table: str, columns: Sequence[str], keys: Sequence[str], run_id: str) -> None:
        """Append the new rows; those that are there of the same run and keys are removed before."""
        same = " and ".join(f"new.{name} = old.{name}" for name in (quote_name((key,)) for key in keys))
        self.execute(
            f"delete from {table} as old where old.{RUN_ID} = {_literal(run_id)} "
            f"and exists (select 1 from {NEW_ROWS} as new where {same})"
        )
        listed = ", ".join(quote_name((name,)) for name in columns)
        self.execute(f"insert into {table} ({listed}) select {listed} from {NEW_ROWS}")

    def commit(self) -> None:
        """Make the changes last."""
        self.execute("commit")


class DuckDB(Database):
    """A database of DuckDB, which one process at a time can write."""

    def begin(self, table: str) -> None:  # noqa: ARG002  other processes are refused
        """Begin a transaction."""
        self.execute("begin")

    def stage(self, rows: pl.DataFrame) -> None:
        """Make the rows a view of the connection."""
        self.cursor.register(NEW_ROWS, rows.to_arrow())

    def columns(self, names: Sequence[str]) -> dict[str, str] | None:
        """Return the columns of a table and their types."""
        schema = "?" if len(names) > 1 else "current_schema()"
        sql = f"select 1 from duckdb_tables() where schema_name = {schema} and table_name = ?"
        if names != (NEW_ROWS,) and not self.execute(sql, names).fetchall():
            return None
        return {row[0]: row[1] for row in self.execute(f"describe {quote_name(names)}").fetchall()}


class SQLite(Database):
    """A database of SQLite, whose times are text, and whose types are those that a column was declared with."""

    def begin(self, table: str) -> None:  # noqa: ARG002  the whole file is locked
        """Begin a transaction, after waiting for that of another process."""
        self.execute("begin immediate")

    def stage(self, rows: pl.DataFrame) -> None:
        """Make the rows a temporary table."""
        types = {name: self._type(dtype) for name, dtype in rows.schema.items()}
        declared = ", ".join(f"{quote_name((name,))} {kind}" for name, kind in types.items())
        self.execute(f"create temp table {NEW_ROWS} ({declared})")
        form = "%Y-%m-%d %H:%M:%S%.f"
        texts = [
            pl.col(name).dt.strftime(f"{form}%:z" if dtype.time_zone else form)
            for name, dtype in rows.schema.items()
            if isinstance(dtype, pl.Datetime)
        ]
        rows = rows.with_columns(*texts, pl.selectors.date().cast(pl.String))
        self.cursor.executemany(f"insert into {NEW_ROWS} values ({', '.join('?' * rows.width)})", rows.iter_rows())

    @staticmethod
    def _type(dtype: pl.DataType) -> str:
        if dtype.is_integer():
            return "INTEGER"
        return SQLITE_TYPES.get(dtype.base_type(), "REAL")

    def columns(self, names: Sequence[str]) -> dict[str, str] | None:
        """Return the columns of a table and their types."""
        schema = f"{quote_name(names[:1])}." if len(names) > 1 else ""
        rows = self.execute(f"pragma {schema}table_info({quote_name(names[-1:])})").fetchall()
        return {row[1]: row[2].upper() for row in rows} or None


class PostgreSQL(Database):
    """A PostgreSQL server."""

    def begin(self, table: str) -> None:
        """Let no other process append to the table before this transaction ends."""
        self.execute(f"select pg_advisory_xact_lock(hashtextextended('fusecast ' || {_literal(table)}, 0))")
        self.cursor.fetchall()

    def stage(self, rows: pl.DataFrame) -> None:
        """Make the rows a temporary table."""
        self.cursor.adbc_ingest(NEW_ROWS, rows.to_arrow(), mode="create", temporary=True)

    def columns(self, names: Sequence[str]) -> dict[str, str] | None:
        """Return the columns of a table and their types."""
        self.execute(
            "select attname, format_type(atttypid, null) from pg_attribute "
            f"where attrelid = to_regclass({_literal(quote_name(names))}) and attnum > 0 and not attisdropped "
            "order by attnum"
        )
        return dict(self.cursor.fetchall()) or None

    def commit(self) -> None:
        """Make the changes last."""
        self.cursor.connection.commit()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def open_to_write(address: Address, driver: Any) -> Iterator[Database]:
    """Open a database; a file that is created for it is removed again where nothing was written to it."""
    path = address.path
    if address.kind == "postgresql":
        with closing(driver.connect(address.uri)) as connection, closing(connection.cursor()) as cursor:
            yield PostgreSQL(cursor)
        return
    if path is None:
        raise DatabaseError.malformed(address.kind, "names no file")
    if not path.parent.is_dir():
        raise ArtifactError.cannot_write(f"folder {path.parent}", "does not exist", "create it first")
    existed = path.exists()
    try:
        if address.kind == "duckdb":
            with closing(driver.connect(path)) as connection:
                yield DuckDB(connection)
        else:
            with closing(driver.connect(path, isolation_level=None)) as connection:
                yield SQLite(connection)
    finally:
        if not existed:
            _remove_if_empty(path, address, driver)


def _remove_if_empty(path: Path, address: Address, driver: Any) -> None:
    """Remove the file of a database that has no tables."""
    empty = path.is_file() and path.stat().st_size == 0
    if address.kind == "duckdb" and path.is_file():
        with suppress(driver.Error), closing(driver.connect(path, read_only=True)) as connection:
            empty = not connection.execute("select 1 from duckdb_tables()").fetchall()
    if empty:
        path.unlink(missing_ok=True)
