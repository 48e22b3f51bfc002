"""Runs whose tables live in databases: every verb reads them, forecasts go back, and no password is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.helpers.database_fixtures import KINDS, Store, create_store
from tests.helpers.python_server import run_python
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import Forecaster, Query
from fusecast.cli.app import app
from fusecast.errors import FusecastError
from fusecast.io.databases.address import parse_address

TABLE = shop_table(2, 80).select("unique_id", "ds", "y", "promotion")
SQL, PLAN, NEWER = "select * from sales", "select * from plan", "select * from newer;"
CREATE = "create table {} (unique_id text, ds timestamp, {} promotion double precision)"


def fusecast(*words: object, code: int = 0) -> str:
    """Run the command line in this process; return what it printed."""
    ran = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(ran.exception, FusecastError):
        assert code == 2, ran.exception
        return f"{ran.output}{ran.exception}"
    assert ran.exit_code == code, f"{ran.output}{ran.exception!r}"
    return ran.output


def start(*words: object, code: int = 0) -> str:
    """Run the command line in a process of its own; return what it printed to stdout and stderr."""
    ran = run_python("-m", "fusecast", *words)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def fill(store: Store, name: str, frame: pl.DataFrame) -> None:
    y = "y double precision," if "y" in frame.columns else ""
    rows = frame.with_columns(pl.col("ds").dt.strftime("%Y-%m-%d %H:%M:%S")).rows()
    store.execute(CREATE.format(name, y), f"insert into {name} values {', '.join(map(str, rows))}")


def create_shop(kind: str, folder: Path) -> Store:
    """Return a database with sales, a plan, and sales that have grown by a step."""
    store = create_store(kind, folder)
    last = future_of(TABLE, 1).with_columns(y=1.0).select(TABLE.columns)
    newer = pl.concat([TABLE, last])
    for name, frame in (("sales", TABLE), ("plan", future_of(newer)), ("newer", newer)):
        fill(store, name, frame)
    return store


def words_of(options: dict[str, Any]) -> list[str]:
    sections = {**options["training"], "logger": "csv"}
    words = [f"training.{name}={yaml.safe_dump(value).split()[0]}" for name, value in sections.items()]
    words += [f"network.{name}={value}" for name, value in options["network"].items()]
    return [word for text in words for word in ("--set", text)]


FIT = ["--horizon", HORIZON, "--lookback", LOOKBACK, "--known", "promotion", "--calibration", "none", *words_of(TINY)]


def search(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that hold a text, compressed or not."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def expected() -> Forecaster:
    """The forecaster of the same rows as a frame."""
    return Forecaster(HORIZON, LOOKBACK, known=["promotion"], **TINY).fit(TABLE)


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A database, and a run whose table is in it."""
    folder = tmp_path_factory.mktemp("shop")
    store = create_shop(request.param, folder)
    fusecast("fit", store.url, "--query", SQL, "--out", folder / "run", *FIT)
    return store, folder / "run"


def test_a_run_knows_where_its_rows_came_from_and_reads_them_again(
    shop: tuple[Store, Path], expected: Forecaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = shop
    record = yaml.safe_load((run / "run.yaml").read_text())
    assert (record["data"], record["query"]) == (parse_address(store.url).shown, SQL)
    assert Forecaster.load(run).run_id == expected.run_id
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGPASSWORD", store.password)
    assert "forecasts of 4 steps" in fusecast("evaluate", run)
    again = tmp_path / "again.yaml"
    again.write_text("".join(line for line in (run / "run.yaml").read_text().splitlines(True) if line[0] != "#"))
    fusecast("fit", "--config", again, "--out", tmp_path / "again")
    assert Forecaster.load(tmp_path / "again").run_id == expected.run_id


def test_forecasts_go_back_once(shop: tuple[Store, Path], expected: Forecaster) -> None:
    store, run = shop
    newer = ("--data", store.url, "--query", NEWER, "--future", store.url, "--future-query", PLAN)
    said = fusecast("predict", run, *newer, "--out", store.url, "--table", "forecasts")
    assert f"{parse_address(store.url).shown}, table forecasts, run_id {expected.run_id}" in said
    rows = "select run_id, y_hat, step, unique_id from forecasts order by unique_id, step"
    first = store.rows(rows)
    forecasts = expected.predict(Query(store.url, PLAN), data=Query(store.url, NEWER))
    assert [row[1] for row in first] == forecasts["y_hat"].to_list()
    assert {row[0] for row in first} == {expected.run_id}
    fusecast("predict", run, *newer, "--out", store.url)
    assert store.rows(rows) == first
    for other in (("--quantiles", "0.2,0.5"), ("--table", "sales")):
        assert "other columns" in fusecast("predict", run, *newer, "--out", store.url, *other, code=2)
    assert len(store.rows("select * from sales")) == len(TABLE)
    assert store.rows(rows) == first


def test_inspect_proposes_the_query_again(tmp_path: Path) -> None:
    store = create_shop("sqlite", tmp_path)
    shown = fusecast("inspect", store.url, "--query", SQL)
    assert f"fusecast fit {store.url} --query '{SQL}'" in shown


def test_queries_and_databases_that_do_not_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    TABLE.write_csv(tmp_path / "sales.csv")
    secret = "postgresql://ada:sEcRet@127.0.0.1:1/shop"
    for words, words_expected in (
        (("fit", secret), "Hint: add --query"),
        (("inspect", secret), "Hint: add --query"),
        (("inspect", "sales.csv", "--query", SQL), "is no database"),
        (("fit", "sales.csv", "--query", SQL), "is no database"),
        (("fit", "--query", SQL), "no database to ask"),
        (("fit", "sqlite:///none.db", "--query", SQL), "there is no sqlite file"),
        (("fit", secret, "--query", SQL), "failed"),
        (("fit", "postgresql://ada:sEc/Ret@h/shop", "--query", SQL), "%2F"),
        (("fit", "mysql://ada:sEcRet@h/shop", "--query", SQL), "databases are"),
        (("predict", "run", "--out", secret), "failed"),
        (("predict", "run", "--out", "f.csv", "--table", "t"), "--table is of databases"),
        (("predict", "run", "--data", ".", "--out", secret), "--data is a folder"),
        (
            ("predict", "run", "--data", ".", "--future", secret, "--future-query", SQL),
            "--future-query is of databases",
        ),
        (("predict", "run", "--data", ".", "--table", "t"), "--table is of databases"),
    ):
        options = ["--horizon", HORIZON, "--out", "run"] if words[0] == "fit" else []
        said = fusecast(*words, *options, code=2)
        assert words_expected in said
        assert "sEc" not in said
    assert search(tmp_path, "sEc") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sales.csv"]


def test_a_data_argument_replaces_the_query_of_a_configuration(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "sales.csv")
    (tmp_path / "run.yaml").write_text("data: sqlite:///none.db\nquery: select 1\nhorizon: 4\n")
    fusecast("fit", tmp_path / "sales.csv", "--config", tmp_path / "run.yaml", "--out", tmp_path / "run", *FIT)
    assert Forecaster.load(tmp_path / "run").config.query is None


def test_passwords_reach_no_file_of_a_run_nor_its_output(tmp_path: Path) -> None:
    """Everything that the verbs write and print is searched, with the password in the URL and with a wrong one."""
    store = create_shop("postgresql", tmp_path)
    run, report = tmp_path / "run", tmp_path / "report.html"
    newer = ("--data", store.url, "--query", NEWER, "--future", store.url, "--future-query", PLAN)
    wrong = store.url.replace(store.password, "sEcRet")
    printed = [
        start("fit", store.url, "--query", SQL, "--out", run, *FIT, "--set", "training.logger=tensorboard"),
        fusecast("predict", run, *newer, "--out", store.url),
        fusecast("report", run, *newer, "--out", report),
    ]
    printed.append(start("evaluate", run, "--data", wrong, "--query", SQL, code=2))
    printed.append(fusecast("fit", wrong, "--query", SQL, "--out", tmp_path / "other", *FIT, code=2))
    printed.append(fusecast("predict", run, *newer, "--out", wrong, code=2))
    printed.append(fusecast("evaluate", run, code=2))
    for text in printed[3:]:
        assert "PGPASSWORD" in text
        assert "Traceback" not in text
    assert report.is_file()
    for secret in (store.password, "sEcRet"):
        assert not any(secret in text for text in printed)
        assert search(tmp_path, secret) == []
    assert store.url_without_password.encode() in (run / "run.yaml").read_bytes()
