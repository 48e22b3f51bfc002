"""Read the rows that a query of a database returns. Nothing is written, and no database is created."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from fusecast.errors import DatabaseError, DataError
from fusecast.io.databases.address import Address, Query, import_driver, parse_address, translate_driver_errors
from fusecast.io.objects import read_objects

FIRST_SECOND, LAST_SECOND, SECONDS_OF_DAY = -62_135_596_800, 253_402_300_799, 86_400
"""Of the years 1 to 9999, counted from 1970."""


def read_query(query: Query) -> pl.DataFrame:
    """Return the rows of a query.

    Raise a ConfigError where the driver is not installed, and a DatabaseError where the address is malformed, the
    database is not there or refuses, or a column has a type that no table has.
    """
    address = parse_address(query.url)
    driver = import_driver(address)
    if address.path is not None and not address.path.is_file():
        raise DatabaseError.no_file(address.kind, address.path)
    read = {"duckdb": _read_duckdb, "sqlite": _read_sqlite, "postgresql": _read_postgresql}[address.kind]
    with translate_driver_errors("the query of", address, driver):
        table = read(driver, address, query.sql)
    if table is None:
        raise DatabaseError.no_rows_returned(address.shown)
    return _to_frame(table, address)


def _read_duckdb(duckdb: Any, address: Address, sql: str) -> pa.Table | None:
    with closing(_open_duckdb(duckdb, address.path)) as connection:
        connection.execute("set python_enable_replacements=false")  # a name is a table there, not a variable here
        connection.begin()  # and never committed
        relation = connection.sql(sql)
        return None if relation is None else relation.to_arrow_table()


def _open_duckdb(duckdb: Any, path: Path | None) -> Any:
    """Open a file for reading, or a database in memory; a file that this process has open to write, as it is open."""
    if path is None:
        return duckdb.connect()
    try:
        return duckdb.connect(path, read_only=True)
    except duckdb.ConnectionException:
        return duckdb.connect(path)


def _read_sqlite(sqlite3: Any, address: Address, sql: str) -> pa.Table | None:
    assert address.path is not None
    with closing(sqlite3.connect(f"{address.path.as_uri()}?mode=ro", uri=True)) as connection:
        cursor = connection.execute(sql)
        if cursor.description is None:
            return None
        names = [column[0] for column in cursor.description]
        columns = zip(*rows, strict=True) if (rows := cursor.fetchall()) else [()] * len(names)
        return pa.Table.from_arrays([_read_values(each).to_arrow() for each in columns], names=names)


def _read_values(values: tuple[Any, ...]) -> pl.Series:
    """Return values of SQLite, where each cell has a type of its own, in one type."""
    types = {type(value) for value in values} - {type(None)}
    return pl.Series(values, dtype=pl.Binary) if types == {bytes} else read_objects("", values)


def _read_postgresql(driver: Any, address: Address, sql: str) -> pa.Table:
    with closing(driver.connect(address.uri)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("set transaction read only")
        cursor.execute(f"{sql.strip().rstrip(';')}\n")  # it goes in brackets, which a comment would swallow
        table = cursor.fetch_arrow_table()
    kinds = [(field.metadata or {}).get(b"POSTGRESQL:type", b"").decode() for field in table.schema]
    if money := {name: kind for name, kind in zip(table.schema.names, kinds, strict=True) if kind == "money"}:
        raise DatabaseError.unreadable_columns(address.shown, money)  # they are counted in cents, or not
    columns = [_from_postgresql(column, kind) for column, kind in zip(table.columns, kinds, strict=True)]
    return pa.Table.from_arrays(columns, names=table.schema.names)


def _from_postgresql(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Return a column of a type that Arrow lacks in one that it has: decimals, and sums of integers, as numbers."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    match kind:
        case "numeric":
            text = pl.Series(column)
            whole = text.cast(pl.Int64, strict=False)
            numbers = whole if whole.null_count() == text.null_count() else text.cast(pl.Float64)
            return pa.chunked_array([numbers.to_arrow()])
        case "uuid":
            return pa.chunked_array([pl.Series(column).bin.encode("hex").to_arrow()])
        case "bpchar":  # filled up with spaces, which mean nothing
            return pa.chunked_array([pl.Series(column).str.strip_chars_end(" ").to_arrow()])
        case _:
            return column


def _to_frame(table: pa.Table, address: Address) -> pl.DataFrame:
    """Return an Arrow table as a frame; raise a DatabaseError with the columns whose type no frame has."""
    names = table.schema.names
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError.duplicate_columns(repeated)
    columns, unreadable = [], {}
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            columns.append(pl.Series(field.name, column))
        except pl.exceptions.PolarsError:
            unreadable[field.name] = str(field.type)
    if unreadable:
        raise DatabaseError.unreadable_columns(address.shown, unreadable)
    return pl.DataFrame(columns).with_columns(map(_clear_infinite, columns))


def _clear_infinite(column: pl.Series) -> pl.Series:
    """Return a column with dates and times that no calendar has, such as `infinity`, as missing."""
    if column.dtype == pl.Date:
        units = 1 / SECONDS_OF_DAY
    elif isinstance(column.dtype, pl.Datetime) and column.dtype.time_unit != "ns":  # which are all in the calendar
        units = {"ms": 10**3, "us": 10**6}[column.dtype.time_unit]
    else:
        return column
    inside = column.to_physical().is_between(int(FIRST_SECOND * units), int(LAST_SECOND * units))
    return column if inside.all() else column.set(~inside, None)
