"""Queries of databases: their types, and that reading leaves a database as it was."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.helpers.database_fixtures import Store, create_store

from fusecast import Query
from fusecast.errors import ConfigError, DatabaseError, DataError
from fusecast.io.databases.reading import read_query
from fusecast.io.tables import read_table

CREATE = """create table sales (store text, day date, sold integer, price numeric(10, 2), share double precision,
  promotion boolean, moment timestamp, note text)"""
ROWS = """insert into sales values
  ('a', '2024-01-01', 3, 2.50, 0.5, true, '2024-01-01 10:30:00', null),
  ('007', '2024-01-02', null, 3.00, null, false, '2024-01-02 00:00:00', 'é')"""


@pytest.fixture
def sales(store: Store) -> Store:
    store.execute(CREATE, ROWS)
    return store


def test_types_are_those_of_the_database(sales: Store) -> None:
    frame = read_table(Query(sales.url, "select * from sales order by day"))
    expected: dict[str, list[Any]] = {
        "store": ["a", "007"],
        "day": [date(2024, 1, 1), date(2024, 1, 2)],
        "sold": [3, None],
        "price": [2.5, 3.0],
        "share": [0.5, None],
        "promotion": [True, False],
        "moment": [datetime(2024, 1, 1, 10, 30), datetime(2024, 1, 2)],
        "note": [None, "é"],
    }
    if sales.kind == "sqlite":  # which has neither times nor booleans
        expected |= {"day": ["2024-01-01", "2024-01-02"], "promotion": [1, 0]}
        expected["moment"] = ["2024-01-01 10:30:00", "2024-01-02 00:00:00"]
    assert frame.to_dict(as_series=False) == expected
    assert frame["price"].dtype == pl.Float64
    assert frame["sold"].dtype.is_integer()


@pytest.mark.parametrize(
    "sql",
    ["select sum(sold) as s, avg(price) as m, count(*) as n from sales;\n", "select 3 as s, 2.75 as m, 2 as n -- all"],
)
def test_sums_and_averages_are_numbers(sql: str, sales: Store) -> None:
    frame = read_table(Query(sales.url, sql))
    assert frame.rows() == [(3, 2.75, 2)]
    assert [dtype.is_numeric() and not dtype.is_decimal() for dtype in frame.dtypes] == [True] * 3


def test_two_columns_of_one_name_and_empty_tables_are_refused(sales: Store) -> None:
    with pytest.raises(DataError, match="'store'"):
        read_table(Query(sales.url, "select store, store from sales"))
    with pytest.raises(DataError, match="rows"):
        read_table(Query(sales.url, "select * from sales where sold > 100"))


@pytest.mark.parametrize(
    "sql",
    [
        "insert into sales (store) values ('b')",
        "insert into sales (store) values ('b') returning store",
        "drop table sales",
        "create table more as select * from sales",
        "selec * from sales",
        "select * from nothing",
        "",
    ],
)
def test_a_query_that_does_not_read_is_refused_and_changes_nothing(sql: str, sales: Store) -> None:
    with pytest.raises(DatabaseError, match=sales.kind):
        read_query(Query(sales.url, sql))
    assert len(sales.rows("select * from sales")) == 2


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_reading_creates_no_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"there is no .* file .*shop\.db\nHint"):
        read_query(Query(f"{kind}:///{tmp_path}/shop.db", "select 1"))
    (tmp_path / "text.db").write_text("no database\n" * 100)
    with pytest.raises(DatabaseError, match=r"the query of .*text\.db failed: "):
        read_query(Query(f"{kind}:///{tmp_path}/text.db", "select * from t"))
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_file_that_this_process_has_open_is_read(kind: str, tmp_path: Path) -> None:
    sales = create_store(kind, tmp_path)
    sales.execute(CREATE, ROWS)
    with closing(sales.connect()):
        assert len(read_query(Query(sales.url, "select * from sales"))) == 2
        if kind == "duckdb":  # it is open to write there, and stays as it was all the same
            read_query(Query(sales.url, "delete from sales returning *"))
    assert len(sales.rows("select * from sales")) == 2


def test_sqlite_has_cells_of_several_types(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("create table t (number, code, bytes)")
        connection.executemany(
            "insert into t values (?, ?, ?)", [(1, "007", b"a"), (2.5, "8", None), (None, 9, b"\xff")]
        )
        connection.commit()
    frame = read_table(Query(f"sqlite:///{tmp_path}/shop.db", "select * from t"))
    assert frame.to_dict(as_series=False) == {
        "number": [1.0, 2.5, None],
        "code": ["007", "8", "9"],
        "bytes": ["61", None, "ff"],
    }


def test_duckdb_in_memory_queries_files_but_no_variables(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    sales = pl.DataFrame({"y": [1.0, 2.0]})
    sales.write_parquet(tmp_path / "sales.parquet")
    assert len(read_query(Query("duckdb:///:memory:", f"select * from '{tmp_path}/sales.parquet'"))) == 2
    with pytest.raises(DatabaseError, match="sales"):
        read_query(Query("duckdb://", "select * from sales"))


def test_columns_that_no_frame_has_are_named(tmp_path: Path) -> None:
    store = create_store("duckdb", tmp_path)
    store.execute("create table t as select 1 as y, interval 3 days as span, timestamp 'infinity' as until")
    with pytest.raises(DatabaseError, match=r"'span' of type .*interval.*\nHint: leave them out, or cast them"):
        read_query(Query(store.url, "select * from t"))
    assert read_query(Query(store.url, "select y, until from t")).rows() == [(1, None)]


def test_types_of_postgresql_alone(tmp_path: Path) -> None:
    store = create_store("postgresql", tmp_path)
    store.execute(
        "create type mood as enum ('low', 'high')",
        """create table t as select 'high'::mood m, 'NaN'::numeric n, 12::numeric w, 'ab'::char(5) c,
          'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid u, timestamptz '2024-01-01 10:00+02' z, 'infinity'::date i,
          timestamp '0044-01-01 BC' b, 1.5::real r, '12.50'::money money, interval '1 day' span""",
    )
    (row,) = read_table(Query(store.url, "select m, n, w, c, u, z, i, b, r from t")).rows()
    assert row[0] == "high"
    assert row[1] != row[1]
    assert row[2:5] == (12, "ab", "a0eebc999c0b4ef8bb6d6bb9bd380a11")
    assert row[5] == datetime(2024, 1, 1, 10, tzinfo=timezone(timedelta(hours=2)))
    assert row[6:] == (None, None, 1.5)
    for column in ("money", "span"):
        with pytest.raises(DatabaseError, match=f"'{column}' of type"):
            read_query(Query(store.url, f"select {column} from t"))


@pytest.mark.parametrize("library", ["duckdb", "adbc_driver_postgresql"])
def test_without_the_extra_the_line_that_installs_it_is_said(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"{library}.dbapi", raising=False)
    url = "duckdb:///:memory:" if library == "duckdb" else "postgresql://nowhere/shop"
    with pytest.raises(ConfigError, match=rf"{library}.*\nHint: pip install 'fusecast\[database\]'"):
        read_query(Query(url, "select 1"))


def test_a_server_that_refuses_is_said_without_the_password() -> None:
    pytest.importorskip("adbc_driver_postgresql")
    for url in (
        "postgresql://ada:sEcRet@127.0.0.1:1/shop?connect_timeout=5",
        "postgresql://ada:sEc%zzRet@127.0.0.1:1/shop",
        "postgresql://127.0.0.1:1/shop?user=ada&password=sEcRet",
        "postgresql://ada:sEcRet@127.0.0.1:port/shop",
        "postgresql://ada:sEcRet@127.0.0.1/shop?nonsense=1",
    ):
        with pytest.raises(DatabaseError, match=r"PGPASSWORD") as caught:
            read_query(Query(url, "select 1"))
        error: BaseException | None = caught.value
        while error is not None:
            assert "sEc" not in str(error)
            error = error.__cause__ or error.__context__


def test_a_wrong_password_is_said_and_the_right_one_is_read_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = create_store("postgresql", tmp_path)
    store.execute(CREATE, ROWS)
    wrong = store.url.replace(store.password, "sEcRet")
    with pytest.raises(DatabaseError, match=r"password authentication failed.*\nHint.*PGPASSWORD") as caught:
        read_query(Query(wrong, "select 1"))
    assert "sEcRet" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", store.password)
    assert len(read_query(Query(store.url_without_password, "select * from sales"))) == 2


def test_the_drivers_are_loaded_where_they_are_needed() -> None:
    code = "import fusecast.io.tables, sys; print({'duckdb', 'adbc_driver_manager', 'sqlite3'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
