"""Trainings of `fusecast ui`: what becomes of them, and who may start them."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from tests.helpers.serving import running, wait_until

from fusecast.config import RunConfig
from fusecast.forecaster import Forecaster
from fusecast.serving.app import create_app
from fusecast.serving.models import Models
from fusecast.serving.trainings import process
from fusecast.serving.trainings.routes import add_training_routes
from fusecast.serving.trainings.training import Training
from fusecast.serving.trainings.trainings import Trainings

ROLES: dict[str, Any] = {"known": ["price", "promo"], "static": ["size", "kind"], "frequency": "1h"}
OPTIONS: dict[str, Any] = {"horizon": 3, "lookback": 8, "id": ["unique_id"], "time": "ds", "target": ["y"], **ROLES}
TINY: dict[str, Any] = {
    "network": {"hidden_size": 8, "num_heads": 2},
    "training": {"max_steps": 4, "members": 1, "final": "none", "logger": "none", "accelerator": "cpu"},
}
ENDLESS = {
    **TINY,
    "training": {**TINY["training"], "max_steps": None, "max_epochs": 9_999, "early_stopping_patience": None},
}


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path / "runs", Models(), ENDLESS)
    yield trainings
    trainings.close()


@pytest.fixture
def client(trainings: Trainings) -> Iterator[Any]:
    app = create_app(trainings.models)
    add_training_routes(app, trainings)
    with running(app) as address, httpx.Client(base_url=address) as client:
        yield client


def write_job(folder: Path, options: dict[str, Any], table: pl.DataFrame) -> Path:
    """Write the job of a training into a folder, as the server does."""
    table.write_parquet(folder / "sales.parquet")
    values = {"horizon": 3, "lookback": 8, "data": str(folder / "sales.parquet"), "table": ROLES}
    (folder / process.JOB).write_text(json.dumps(RunConfig.parse(values, options).to_dict()))
    return folder


def post(client: Any, table: pl.DataFrame, **changes: Any) -> Any:
    """Start a training as the page does."""
    fields = {"name": "sales of 2024.csv", "options": json.dumps(OPTIONS | changes)}
    return client.post("/v1/trainings", files={"table": table.write_csv().encode()}, data=fields)


def test_a_stopped_training_keeps_what_it_has_learned(tmp_path: Path, table: pl.DataFrame) -> None:
    folder = write_job(tmp_path, ENDLESS, table)

    def interrupt() -> None:
        wait_until((folder / process.RUN / "history.csv").exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert process.train(folder) == {"state": "stopped", "message": None}
    assert Forecaster.load(folder / process.RUN).predict().shape[0] == 3 * 3
    assert Forecaster.load(folder / process.BUNDLE).folder is not None
    assert (folder / process.REPORT).is_file()


def test_a_failed_training_says_why_in_the_words_of_the_library(tmp_path: Path, table: pl.DataFrame) -> None:
    folder = write_job(tmp_path, TINY, table.with_columns(y=pl.col("y").cast(pl.String) + "?"))
    outcome = process.train(folder)
    assert outcome["state"] == "failed"
    assert "'y'" in outcome["message"]
    assert "Hint: " in outcome["message"]


def test_a_process_that_dies_is_a_failure_with_its_last_words(tmp_path: Path, table: pl.DataFrame) -> None:
    config = RunConfig.parse({"horizon": 3, "table": ROLES}, TINY)
    training = Training("sales", tmp_path, config, table, lambda _: None)
    (tmp_path / process.JOB).write_text("no JSON")
    wait_until(lambda: training.state != "running")
    assert training.state == "failed"
    assert training.message is not None
    assert "exit code 1" in training.message


def test_one_training_runs_at_a_time_until_it_is_stopped_or_the_server_closes(
    client: Any, trainings: Trainings, table: pl.DataFrame
) -> None:
    assert post(client, table).json() == {"id": "sales-of-2024"}
    refused = post(client, table)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "training")
    described = client.get("/v1/trainings/sales-of-2024").json()
    assert (described["state"], described["share"], described["model"]) == ("running", None, None)
    assert Path(described["folder"]).parent == trainings.folder
    assert client.get("/v1/trainings/sales-of-2024/report").status_code == 404
    for _ in range(2):  # the second time at once
        client.delete("/v1/trainings/sales-of-2024")
    wait_until(lambda: client.get("/v1/trainings/sales-of-2024").json()["state"] == "stopped")
    assert post(client, table).json() == {"id": "sales-of-2024-2"}
    trainings.close()
    assert [each["state"] for each in client.get("/v1/trainings").json()["trainings"]] == ["stopped", "stopped"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"data": "sales.csv"}, "data"), ({"query": "select 1"}, "query"), ({"horizon": "many"}, "horizon")],
)
def test_what_a_client_cannot_choose_is_refused(
    client: Any, table: pl.DataFrame, changes: dict[str, Any], field: str
) -> None:
    refused = post(client, table, **changes)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)
    assert client.get("/v1/trainings").json()["trainings"] == []


def test_impossible_options_are_refused_before_a_process_starts(client: Any, table: pl.DataFrame) -> None:
    refused = post(client, table, time_budget="soon")
    assert refused.status_code == 422
    assert "time_budget" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers", [{"Host": "attacker.example"}, {"Origin": "https://attacker.example"}, {"Origin": "null"}, {"Host": ""}]
)
def test_pages_of_other_servers_are_refused(client: Any, headers: dict[str, str]) -> None:
    assert client.get("/v1/models", headers=headers).status_code == 403
    own = client.get("/v1/models", headers={"Host": "localhost:8080", "Origin": "http://localhost:8080"})
    assert own.json() == {"models": [], "trains": True}


def test_a_server_without_trainings_has_no_routes_for_them() -> None:
    with running(create_app(Models())) as address, httpx.Client(base_url=address) as client:
        assert client.get("/v1/models").json()["trains"] is False
        assert client.post("/v1/trainings").status_code in (404, 405)
