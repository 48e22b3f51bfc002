"""Forecasts appended to tables of databases: whole or not at all, and never twice."""

from __future__ import annotations

import threading
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from tests.helpers.database_fixtures import Store, create_store

from fusecast import append_forecasts
from fusecast.errors import ArtifactError, DatabaseError
from fusecast.io.databases.writing import check_database

FRAME = pl.DataFrame(
    {
        "store": ["a", "a", "b", "b"],
        "day": [date(2024, 1, 2), date(2024, 1, 3)] * 2,
        "cutoff": [date(2024, 1, 1)] * 4,
        "step": pl.Series([1, 2, 1, 2], dtype=pl.Int32),
        "y_hat": [1.0, 2.5, 3.0, 4.0],
        "q0.1": [0.5, 2.0, 2.5, 3.5],
    }
)
NAMES = ["run_id", *FRAME.columns]


def contents(store: Store, table: str = "forecasts") -> list[tuple[str, ...]]:
    names = ", ".join(f'"{name}"' for name in NAMES)
    rows = store.rows(f"select {names} from {table} order by run_id, cutoff, store, step")
    return [tuple(map(str, row)) for row in rows]


def expected(frame: pl.DataFrame, run_id: str) -> list[tuple[str, ...]]:
    return [(run_id, *map(str, row)) for row in frame.rows()]


def test_a_table_is_created_appended_to_and_repetitions_change_nothing(store: Store) -> None:
    later = FRAME.with_columns(pl.col("day", "cutoff") + pl.duration(days=1))
    append_forecasts(FRAME, store.url, run_id="one")
    append_forecasts(FRAME, store.url, run_id="one")
    assert contents(store) == expected(FRAME, "one")
    append_forecasts(later, store.url, run_id="one")
    append_forecasts(FRAME.select(FRAME.columns[::-1]).select(FRAME.columns), store.url, run_id="two")
    append_forecasts(later, store.url, run_id="one")
    assert contents(store) == expected(FRAME, "one") + expected(later, "one") + expected(FRAME, "two")


def test_other_values_of_the_same_run_series_and_cutoff_replace_those_before(store: Store) -> None:
    append_forecasts(FRAME, store.url, run_id="one")
    changed = FRAME.head(2).with_columns(pl.col("y_hat") + 1)
    append_forecasts(changed.to_pandas(), store.url, run_id="one")
    stored = contents(store)
    assert [row[5] for row in stored] == ["2.0", "3.5", "3.0", "4.0"]
    assert [row[1] for row in stored] == ["a", "a", "b", "b"]


def test_dates_of_pandas_are_dates_and_dates_are_times_where_the_table_has_times(store: Store) -> None:
    times = FRAME.with_columns(pl.col("day", "cutoff").cast(pl.Datetime("us")))
    append_forecasts(times, store.url, run_id="one")
    before = contents(store)
    append_forecasts(FRAME, store.url, run_id="one")
    assert contents(store) == before
    append_forecasts(FRAME, store.url, run_id="one", table="dates")
    append_forecasts(times, store.url, run_id="one", table="dates")
    assert contents(store, "dates") == expected(FRAME, "one")
    late = times.with_columns(pl.col("day") + pl.duration(hours=1))
    with pytest.raises(DatabaseError, match="'day' is"):
        append_forecasts(late, store.url, run_id="one", table="dates")


def test_tables_of_one_series_and_names_with_quotes_and_schemas(store: Store) -> None:
    one = FRAME.head(2).drop("store").rename({"day": 'the "day"'})
    schema = {"duckdb": "main", "sqlite": "main", "postgresql": "pg_temp"}[store.kind]
    name = "it's" if store.kind == "postgresql" else f"{schema}.it's"
    for _ in range(2):
        append_forecasts(one, store.url, run_id="o'ne", table=name)
    assert len(store.rows('select * from "it\'s"')) == 2
    for wrong in ("a.b.c", "", "a.", "."):
        with pytest.raises(DatabaseError, match="names no table"):
            check_database(store.url, wrong)


def test_times_of_all_kinds_are_stored(store: Store) -> None:
    moment = datetime(2024, 1, 1, 10, 30)
    values = pl.Series([moment])
    for name, times in (
        ("plain", values.cast(pl.Datetime("ns"))),
        ("zoned", values.dt.replace_time_zone("Europe/Berlin")),
        ("counted", values.to_physical()),
    ):
        frame = pl.DataFrame({"id": [7], "ds": times, "cutoff": times, "step": [1], "y_hat": [1.5]})
        for _ in range(2):
            append_forecasts(frame, store.url, run_id="one", table=name)
        ((stored,),) = store.rows(f"select ds from {name}")
        match name:
            case "counted":
                assert stored == times[0]
            case "plain":
                assert str(stored) == "2024-01-01 10:30:00"
            case "zoned":
                stored = datetime.fromisoformat(stored) if store.kind == "sqlite" else stored
                assert stored == times[0]


def test_a_table_with_other_columns_is_refused_and_stays(store: Store) -> None:
    store.execute("create table sales (store text, day date)", "insert into sales values ('a', '2024-01-01')")
    with pytest.raises(DatabaseError, match=r"table sales .* it lacks 'run_id', 'cutoff'.*\nHint: choose another"):
        append_forecasts(FRAME, store.url, run_id="one", table="sales")
    assert len(store.rows("select * from sales")) == 1
    append_forecasts(FRAME, store.url, run_id="one")
    with pytest.raises(DatabaseError, match=r"it has besides 'q0.1'"):
        append_forecasts(FRAME.drop("q0.1"), store.url, run_id="two")
    with pytest.raises(DatabaseError, match=r"'store' is (text|VARCHAR|TEXT), and (bigint|BIGINT|INTEGER) here"):
        append_forecasts(FRAME.with_columns(store=pl.Series([1, 1, 2, 2])), store.url, run_id="two")
    assert contents(store) == expected(FRAME, "one")


def test_a_failure_in_the_middle_leaves_the_table_as_it_was(store: Store) -> None:
    append_forecasts(FRAME, store.url, run_id="one")
    store.execute(
        "create table checked (run_id text, store text, day date, cutoff date, step integer, y_hat double precision, "
        '"q0.1" double precision check ("q0.1" < 5))'.replace(
            "double precision", "real" if store.kind == "sqlite" else "double precision"
        ),
    )
    append_forecasts(FRAME, store.url, run_id="one", table="checked")
    worse = FRAME.with_columns(pl.Series("q0.1", [0.0, 0.0, 0.0, 9.0]))  # the last row is refused, after the deletion
    with pytest.raises(DatabaseError, match=r"(?i)writing to .* failed: .*check"):
        append_forecasts(worse, store.url, run_id="one", table="checked")
    assert contents(store, "checked") == expected(FRAME, "one")


def test_two_writers_at_a_time_append_no_row_twice(store: Store) -> None:
    failures: list[Exception] = []

    def append() -> None:
        try:
            append_forecasts(FRAME, store.url, run_id="one")
        except DatabaseError as error:
            failures.append(error)

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if store.kind != "duckdb":  # which refuses one of two that change the same rows
        assert failures == []
    assert contents(store) == expected(FRAME, "one")


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_file_is_created_where_its_folder_is_there_and_only_with_rows(kind: str, tmp_path: Path) -> None:
    store = create_store(kind, tmp_path)
    check_database(store.url)
    with pytest.raises(DatabaseError, match="'run_id'"):
        append_forecasts(FRAME.with_columns(run_id=1), store.url, run_id="one")
    with pytest.raises(DatabaseError, match="'cutoff'"):
        append_forecasts(FRAME.drop("cutoff"), store.url, run_id="one")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArtifactError, match="does not exist"):
        check_database(f"{kind}:///{tmp_path}/none/shop.db")
    append_forecasts(FRAME, store.url, run_id="one")
    assert contents(store) == expected(FRAME, "one")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


def test_a_server_that_cannot_be_reached_is_said_before_the_work() -> None:
    pytest.importorskip("adbc_driver_postgresql")
    with pytest.raises(DatabaseError, match=r"writing to postgresql://ada@127.0.0.1:1/shop failed") as caught:
        check_database("postgresql://ada:sEcRet@127.0.0.1:1/shop")
    assert "sEcRet" not in str(caught.value)


def test_memory_is_no_place_for_forecasts() -> None:
    pytest.importorskip("duckdb")
    with pytest.raises(DatabaseError, match="names no file"):
        check_database("duckdb:///:memory:")
