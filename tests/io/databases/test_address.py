"""Addresses of databases: what they mean, and that no password is shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fusecast import Query
from fusecast.errors import DatabaseError
from fusecast.io.databases.address import is_database, is_url, parse_address, without_secrets
from fusecast.io.sources import locate, name_source, record_source


def test_paths_of_files_are_relative_after_three_slashes_and_absolute_after_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("duckdb", "sqlite", "sqlite+pysqlite"):
        assert parse_address(f"{kind}:///data/shop.db").path == tmp_path / "data" / "shop.db"
        absolute = parse_address(f"{kind}:///{tmp_path}/shop.db")
        assert absolute.path == tmp_path / "shop.db"
        assert absolute.shown == f"{kind.partition('+')[0]}:///{tmp_path / 'shop.db'}"
        assert parse_address(absolute.shown) == absolute


@pytest.mark.parametrize(
    ("given", "connected", "shown"),
    [
        ("postgresql://ada:pw@host:5432/shop", "postgresql://ada:pw@host:5432/shop", "postgresql://ada@host:5432/shop"),
        ("postgres://ada@host/shop", "postgresql://ada@host/shop", "postgresql://ada@host/shop"),
        ("postgresql+psycopg://host/shop", "postgresql://host/shop", "postgresql://host/shop"),
        ("postgresql:///shop", "postgresql:///shop", "postgresql:///shop"),
        ("postgresql://ada:p%40%zz:1@h/shop", "postgresql://ada:p%40%25zz%3A1@h/shop", "postgresql://ada@h/shop"),
        (
            "postgresql://h/shop?user=ada&password=p%20w&sslmode=require",
            "postgresql://h/shop?user=ada&password=p%20w&sslmode=require",
            "postgresql://h/shop?user=ada&sslmode=require",
        ),
        ("postgresql://a:p@h1:1,h2:2/shop", "postgresql://a:p@h1:1,h2:2/shop", "postgresql://a@h1:1,h2:2/shop"),
    ],
)
def test_addresses_of_servers_are_those_of_libpq(given: str, connected: str, shown: str) -> None:
    address = parse_address(given)
    assert (address.uri, address.shown) == (connected, shown)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:sEcRet@word@host/shop",
        "postgresql://ada:sEc/Ret@host/shop",
        "sqlite://ada:sEcRet@host/shop.db",
        "sqlite:///shop.db?key=sEcRet",
        "duckdb://sEcRet.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "mysql://ada:sEcRet@host/shop",
    ],
)
def test_a_malformed_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseError, match="Hint") as caught:
        parse_address(url)
    for text in (str(caught.value), without_secrets(url), repr(Query(url, "select 1"))):
        assert "sEc" not in text
        assert "Ret" not in text


def test_a_source_shows_and_records_no_password() -> None:
    url = "postgresql://ada:s%C3%A9cret%2F1@host/shop?sslpassword=other"
    query = Query(url, "select * from sales")
    address = parse_address(url)
    texts = [repr(query), str(query), repr(address), str(record_source(query)), without_secrets(url)]
    texts += [address.redact("no login with sécret/1, s%C3%A9cret%2F1 or other")]
    for text in texts:
        assert not any(secret in text for secret in ("sécret", "cret%2F1", "other"))
    assert record_source(query) == {"data": "postgresql://ada@host/shop", "query": "select * from sales"}
    assert pickle.loads(pickle.dumps(query)) == query


def test_addresses_of_objects_lose_signatures_and_passwords() -> None:
    assert without_secrets("https://ada:pw@host/sales.parquet?X-Amz-Signature=abc") == "https://ada@host/sales.parquet"
    assert without_secrets("abfss://box@account.net/a.parquet") == "abfss://box@account.net/a.parquet"
    assert record_source("s3://bucket/sales.parquet") == {"data": "s3://bucket/sales.parquet", "query": None}
    assert locate("s3://bucket/sales.parquet") == "s3://bucket/sales.parquet"


def test_paths_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("sales.csv", "data/sales.csv", "C:\\sales.csv", "a:b.csv", "/sales.csv"):
        assert not is_url(path)
        assert not is_database(path)
        assert without_secrets(path) == path
    assert locate("sales.csv") == tmp_path / "sales.csv"
    assert record_source(locate("sales.csv")) == {"data": str(tmp_path / "sales.csv"), "query": None}
    assert record_source({"y": [1.0]}) == {"data": None, "query": None}


def test_a_database_needs_a_query_and_a_query_a_database() -> None:
    assert name_source("sales.csv", None) == "sales.csv"
    assert name_source("sqlite:///shop.db", "select 1") == Query("sqlite:///shop.db", "select 1")
    with pytest.raises(DatabaseError, match=r"ada@host.*\nHint: add --query") as caught:
        name_source("postgresql://ada:sEcRet@host/shop", None)
    assert "sEcRet" not in str(caught.value)
    for place, words in (
        (None, "no database to ask"),
        ("sales.csv", "sales.csv is no database"),
        ("s3://bucket/sales.parquet", "s3://bucket/sales.parquet is no database"),
        ("mysql://host/shop", "mysql:// are not read"),
    ):
        with pytest.raises(DatabaseError, match=words):
            name_source(place, "select 1")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from postgres_scan('host=h password=sEcRet', 'public', 'sales')",
        "create secret (type s3, key_id 'k', secret 'sEcRet'); select 1",
        "select * from postgres_scan('postgresql://ada:sEcRet@h/shop', 'public', 'sales')",
    ],
)
def test_a_query_that_holds_a_password_is_refused_as_runs_keep_it(sql: str) -> None:
    with pytest.raises(DatabaseError, match="holds a password") as caught:
        Query("duckdb:///shop.db", sql)
    assert "sEcRet" not in str(caught.value)
    Query("duckdb:///shop.db", "select secret_santa, token, 'a://b:c' from passwords where token = 'x'")
