from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from fusecast.errors.base import FusecastError, join_words, some_of

FORMS = "duckdb:///shop.db, sqlite:///shop.db (four slashes before an absolute path) or postgresql://user@host/name"


class DatabaseError(FusecastError):
    """A database cannot be reached, read or written as asked. No message holds a password."""

    @classmethod
    def unknown_kind(cls, scheme: str, object_stores: Sequence[str]) -> Self:
        return cls(
            f"addresses that begin with {scheme}:// are not read\n"
            f"Hint: databases are {FORMS}; files are read from {', '.join(f'{each}://' for each in object_stores)}; "
            "of any other database, pass a frame in Python, such as that of polars.read_database"
        )

    @classmethod
    def malformed(cls, scheme: str, problem: str) -> Self:
        return cls(f"the address of a database, {scheme}://..., {problem}\nHint: write {FORMS}")

    @classmethod
    def special_characters(cls, scheme: str) -> Self:
        return cls.malformed(
            scheme, "has an @ in more than one place; in user and password, @ is written %40, / is %2F and % is %25"
        )

    @classmethod
    def no_query(cls, url: str) -> Self:
        return cls(
            f"{url} is a database, and which rows to read is not said\n"
            'Hint: add --query "select * from sales" (--future-query to --future); in Python, pass '
            f"fusecast.Query({url!r}, 'select * from sales')"
        )

    @classmethod
    def query_without_database(cls, place: object) -> Self:
        return cls(
            f"a query was given, and {'no database to ask' if place is None else f'{place} is no database'}\n"
            f"Hint: name one with it: {FORMS}"
        )

    @classmethod
    def secret_in_query(cls) -> Self:
        return cls(
            "the query holds a password, and the files of a run keep its text\n"
            "Hint: keep passwords in the database (create secret), in PGPASSWORD or in the file ~/.pgpass"
        )

    @classmethod
    def no_file(cls, kind: str, path: object) -> Self:
        return cls(
            f"there is no {kind} file {path}\n"
            "Hint: after the slashes of the address comes a path from the current folder; an absolute one begins with "
            "a fourth slash"
        )

    @classmethod
    def failed(cls, what: str, url: str, reason: str, hint: str = "") -> Self:
        return cls(f"{what} {url} failed: {reason}" + (f"\nHint: {hint}" if hint else ""))

    @classmethod
    def no_rows_returned(cls, url: str) -> Self:
        return cls(f"the query of {url} returns no table\nHint: it has to read, such as select * from sales")

    @classmethod
    def unreadable_columns(cls, url: str, types: Mapping[str, str]) -> Self:
        columns = join_words([f"{name!r} of type {kind}" for name, kind in types.items()])
        return cls(
            f"the query of {url} returns columns that cannot be read as they are: {columns}\n"
            "Hint: leave them out, or cast them in the query, such as to numeric or text"
        )

    @classmethod
    def other_columns(cls, url: str, table: str, lacking: Collection[str], unknown: Collection[str]) -> Self:
        kinds = {"it lacks": lacking, "it has besides": unknown}
        differences = "; ".join(f"{kind} {some_of(names, 20)}" for kind, names in kinds.items() if names)
        return cls(
            f"table {table} of {url} has other columns than these forecasts: {differences}\n"
            "Hint: choose another --table; it is created where it does not exist"
        )

    @classmethod
    def other_types(cls, url: str, table: str, types: Mapping[str, tuple[str, str]]) -> Self:
        columns = join_words([f"{name!r} is {there}, and {here} here" for name, (there, here) in types.items()])
        return cls(
            f"table {table} of {url} has columns of other types than these forecasts: {columns}\n"
            "Hint: choose another --table; it is created where it does not exist"
        )

    @classmethod
    def reserved_column(cls, name: str) -> Self:
        return cls(
            f"column {name!r} of these forecasts has the name of the column that says which run they are of\n"
            "Hint: rename it in the table of the fit"
        )

    @classmethod
    def no_forecasts(cls, columns: Collection[str]) -> Self:
        return cls(
            f"a table of forecasts has a column 'cutoff', and this one has {some_of(columns)}\n"
            "Hint: append what `predict` returns"
        )

    @classmethod
    def wrong_table_name(cls, table: str) -> Self:
        return cls(f"{table!r} names no table\nHint: write a name, or a schema and a name: forecasts, sales.forecasts")

    @classmethod
    def table_without_database(cls, place: object) -> Self:
        return cls(f"--table is of databases, and {place} is none\nHint: leave it out, or name one with --out: {FORMS}")

    @classmethod
    def folder_to_database(cls, url: str) -> Self:
        return cls(
            f"--data is a folder, whose tables are forecast one by one into a folder, and --out is {url}\n"
            "Hint: name a folder with --out, or forecast each file by a command of its own"
        )

    @classmethod
    def folder_with_query(cls) -> Self:
        return cls(
            "--data is a folder, whose plans are files, and --future-query is of databases\n"
            "Hint: name a file or a folder with --future"
        )
