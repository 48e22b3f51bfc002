"""What is served equals what the library computes from the same table, bit for bit."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, time, timedelta
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from polars.testing import assert_frame_equal
from tests.helpers.serving import to_xlsx

from fusecast.errors import DataError
from fusecast.forecaster import Forecaster
from fusecast.serving.answers import to_rows

JSON = {"Content-Type": "application/json"}


def to_bytes(frame: pl.DataFrame, write: str) -> bytes:
    buffer = io.BytesIO()
    getattr(frame, write)(buffer)
    return buffer.getvalue()


BODIES = {
    "text/csv": lambda frame: to_bytes(frame, "write_csv"),
    "application/vnd.apache.parquet": lambda frame: to_bytes(frame, "write_parquet"),
    "application/vnd.apache.arrow.stream": lambda frame: to_bytes(frame, "write_ipc_stream"),
    "application/vnd.apache.arrow.file": lambda frame: to_bytes(frame, "write_ipc"),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": to_xlsx,
}


def in_json(frame: pl.DataFrame, **more: Any) -> bytes:
    return json.dumps({"history": to_rows(frame), **more}).encode()


def post(client: httpx.Client, route: str, content: bytes, kind: str = "application/json", **how: Any) -> Any:
    answer = client.post(route, content=content, headers={"Content-Type": kind, **how.pop("headers", {})}, **how)
    assert answer.status_code == 200, answer.text
    return answer


def rows_of(answer: httpx.Response, name: str = "forecasts") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer.json()[name]
    return rows


@pytest.fixture(scope="module")
def expected(forecaster: Forecaster, table: pl.DataFrame) -> pl.DataFrame:
    forecasts: pl.DataFrame = forecaster.predict(data=table)
    return forecasts


def test_rows_in_json(client: httpx.Client, table: pl.DataFrame, expected: pl.DataFrame) -> None:
    answer = post(client, "/v1/forecast", in_json(table))
    assert rows_of(answer) == to_rows(expected)
    assert answer.json()["columns"] == expected.columns
    assert answer.json()["model"] == "shop"
    assert (answer.json()["history"], answer.json()["explanation"]) == (None, None)
    assert any("steps to forecast" in note for note in answer.json()["notes"])


def test_columns_in_json_and_a_plan(client: httpx.Client, table: pl.DataFrame, expected: pl.DataFrame) -> None:
    known = table.filter(pl.col("y").is_not_null())
    plan = table.filter(pl.col("y").is_null()).drop("y", "temp", "state")
    values = {name: column.to_list() for name, column in zip(known.columns, known.iter_columns(), strict=True)}
    values["ds"] = [str(time) for time in values["ds"]]
    body = json.dumps({"history": values, "plan": to_rows(plan)}).encode()
    assert rows_of(post(client, "/v1/forecast", body)) == to_rows(expected)


@pytest.mark.parametrize("kind", BODIES)
def test_files(kind: str, client: httpx.Client, table: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert rows_of(post(client, "/v1/forecast", BODIES[kind](table), kind)) == to_rows(expected)


def test_a_form_of_files_whatever_their_names(
    client: httpx.Client, table: pl.DataFrame, forecaster: Forecaster
) -> None:
    known = table.filter(pl.col("y").is_not_null())
    plan = table.filter(pl.col("y").is_null()).drop("y", "temp", "state")
    files = {
        "history": ("../../etc/passwd", to_bytes(known, "write_parquet"), "text/html"),
        "plan": ("\u202e\x00.exe", to_bytes(plan, "write_csv"), "text/csv"),
    }
    answer = client.post("/v1/forecast", files=files, data={"quantiles": "0.2,0.7", "raw": "true"})
    expected = forecaster.predict(plan, data=known, quantiles=[0.2, 0.7], raw=True)
    assert rows_of(answer) == to_rows(expected)


def test_options_of_a_file_are_in_the_query(client: httpx.Client, table: pl.DataFrame, forecaster: Forecaster) -> None:
    for options in ("quantiles=[0.3]&raw=true", "quantiles=0.3&raw=true&series=s1"):
        answer = post(client, f"/v1/forecast?model=other&{options}", to_bytes(table, "write_csv"), "text/csv")
        assert answer.json()["model"] == "other"
        assert set(rows_of(answer)[0]) == {"unique_id", "ds", "cutoff", "step", "y_hat", "q0.3"}
    assert {row["unique_id"] for row in rows_of(answer)} == {"s1"}
    wrong = client.post("/v1/forecast?quantile=0.3", content=b"a", headers={"Content-Type": "text/csv"}).json()["error"]
    assert (wrong["message"], wrong["hint"]) == ("there is no option 'quantile'", "did you mean 'quantiles'?")


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("text/csv", lambda content: pl.read_csv(content, try_parse_dates=True)),
        ("application/vnd.apache.parquet", pl.read_parquet),
        ("application/vnd.apache.arrow.stream", pl.read_ipc_stream),
    ],
)
def test_tables_as_answers(
    kind: str, read: Any, client: httpx.Client, table: pl.DataFrame, expected: pl.DataFrame
) -> None:
    answer = post(client, "/v1/forecast", in_json(table), headers={"Accept": f"application/xml, {kind};q=0.9"})
    assert answer.headers["content-type"].startswith(kind)
    assert_frame_equal(read(io.BytesIO(answer.content)), expected, check_exact=True, check_dtypes=kind != "text/csv")


def test_requests_at_once_share_passes_and_get_the_answers_of_each_alone(
    client: httpx.Client, table: pl.DataFrame, forecaster: Forecaster
) -> None:
    passes, shared = counts(client)
    tables = [
        table.filter(pl.col("unique_id").is_in([f"s{s}" for s in names])).group_by("unique_id").tail(90 - n)
        for n, names in enumerate([(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)] * 4)
    ]
    bodies = [in_json(each, explanation=n % 5 == 0) for n, each in enumerate(tables)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        served = list(pool.map(lambda body: rows_of(post(client, "/v1/forecast", body)), bodies))
    for each, rows in zip(tables, served, strict=True):
        assert rows == to_rows(forecaster.predict(data=each))
    passes, shared = counts(client)[0] - passes, counts(client)[1] - shared
    assert passes < shared
    alone = [rows_of(post(client, "/v1/forecast", body)) for body in bodies[:6]]
    assert alone == served[:6]


def counts(client: httpx.Client) -> tuple[float, float]:
    """Return the passes of the network so far, and the requests that they were for."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return float(lines["fusecast_batch_requests_count"]), float(lines["fusecast_batch_requests_sum"])


def test_what_if(client: httpx.Client, table: pl.DataFrame, forecaster: Forecaster, expected: pl.DataFrame) -> None:
    changes = {"price": [1.0, 50.0, 2.0], "promo": "yes"}
    body = in_json(table, changes=changes, series=["s1"])
    answer = post(client, "/v1/what-if", body).json()
    compared = forecaster.what_if(changes, data=table, series=["s1"])
    of_one = to_rows(expected.filter(pl.col("unique_id") == "s1"))  # forecast with the others: other last bits
    assert_frame_equal(pl.DataFrame(answer["forecasts"]), pl.DataFrame(of_one), rel_tol=1e-6)
    for level in forecaster.config.network.quantiles:
        rows = compared.filter(pl.col("quantile") == level)
        assert [row[f"q{level:g}"] for row in answer["forecasts"]] == rows["before"].to_list()
        assert [row[f"q{level:g}"] for row in answer["changed"]] == rows["after"].to_list()
    assert answer["changed"] != answer["forecasts"]


def test_an_explanation(client: httpx.Client, table: pl.DataFrame, forecaster: Forecaster) -> None:
    explanation = post(client, "/v1/forecast", in_json(table, explanation=True, history_rows=2)).json()["explanation"]
    of_one = forecaster.explain_forecast("s2", data=table)
    served = explanation["series"]["s2"]
    assert {(row["variable"], row["weight"]) for row in served["importance"]["past"]} == set(
        of_one.variables.filter(pl.col("group") == "past").select("variable", "weight").rows()
    )
    assert {(row["lag"], row["weight"]) for row in served["attention"]} == set(
        of_one.steps.select("position", "attention").rows()
    )
    for group in ("static", "past", "future"):
        assert sum(row["weight"] for row in explanation["importance"][group]) == pytest.approx(1)
    assert sum(row["weight"] for row in explanation["attention"]) == pytest.approx(1)


def test_history_rows_are_the_last_known_ones(client: httpx.Client, table: pl.DataFrame) -> None:
    history = post(client, "/v1/forecast", in_json(table, history_rows=2)).json()["history"]
    known = table.filter(pl.col("y").is_not_null())
    assert [(row["unique_id"], row["ds"], row["y"]) for row in history] == [
        (row["unique_id"], row["ds"], row["y"])
        for row in to_rows(known.group_by("unique_id", maintain_order=True).tail(2))
    ]


def test_inspect(client: httpx.Client, table: pl.DataFrame) -> None:
    answer = client.post("/v1/inspect", files={"table": ("x", to_xlsx(table))}).json()
    body = client.post("/v1/inspect", content=table.write_csv(), headers={"Content-Type": "text/csv"}).json()
    assert (body["rows"], body["num_series"]) == (answer["rows"], answer["num_series"])
    assert client.post("/v1/inspect", json={"table": []}).status_code == 415
    roles = {column["name"]: column["role"] for column in answer["columns"]}
    assert roles["unique_id"] == "id"
    assert roles["ds"] == "time"
    assert roles["y"] == "target"
    assert answer["frequency"] == "1h"
    assert answer["num_series"] == 3
    assert answer["rows"] == len(table)
    assert answer["levels"]["promo"] == ["no", "yes"]
    assert len(answer["preview"]) == 20
    assert answer["arguments"]["static"] == "size,kind"


def test_columns_of_any_type_are_shown(client: httpx.Client, table: pl.DataFrame) -> None:
    odd = table.head(3).with_columns(
        lists=pl.Series([[datetime(2021, 1, 1)], [], None]),
        structs=pl.struct("y", "ds"),
        infinite=pl.Series([float("inf"), float("nan"), 1.0]),
        clock=pl.Series([time(1, 2), None, time(3, 4)]),
        length=pl.Series([timedelta(days=1), None, timedelta(seconds=3)]),
        bytes=pl.Series([b"\xff", b"a", None]),
        kinds=pl.Series(["a", "b", "a"], dtype=pl.Categorical),
    )
    preview = client.post("/v1/inspect", files={"table": to_bytes(odd, "write_parquet")}).json()["preview"]
    assert [row["infinite"] for row in preview] == [None, None, 1.0]
    assert "datetime(2021, 1, 1" in preview[0]["lists"]
    assert preview[2]["lists"] is None
    assert preview[1]["kinds"] == "b"


def test_models_are_described(client: httpx.Client, app: FastAPI, forecaster: Forecaster) -> None:
    listed = client.get("/v1/models").json()["models"]
    assert listed == [{"name": "shop", "default": True}, {"name": "other", "default": False}]
    model = client.get("/v1/model").json()
    assert model["schema"]["id"] == ["unique_id"]
    assert model["schema"]["known_real"] == ["price"]
    assert model["schema"]["known_categorical"] == ["promo"]
    assert model["schema"]["static_real"] == ["size"]
    assert model["horizon"] == forecaster.config.horizon
    assert model["quantiles"] == list(forecaster.config.network.quantiles)
    assert model["calibrated"]
    assert client.get("/v1/model?model=other").json()["model_id"] != model["model_id"]


def test_an_error_names_field_series_and_row_in_the_words_of_the_library(
    client: httpx.Client, table: pl.DataFrame, forecaster: Forecaster
) -> None:
    broken = table.with_columns(y=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("many")).otherwise(pl.col("y")))
    with pytest.raises(DataError) as caught:
        forecaster.predict(data=broken)
    answer = client.post("/v1/forecast", content=in_json(broken), headers=JSON)
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert error["code"] == "data"
    assert f"{error['message']}\nHint: {error['hint']}" == str(caught.value)
    assert (error["field"], error["row"]) == ("y", 7)


def test_an_error_of_one_request_is_not_that_of_others(client: httpx.Client, table: pl.DataFrame) -> None:
    bodies = [in_json(table), in_json(table.drop("price")), in_json(table.drop("y")), in_json(table)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: client.post("/v1/forecast", content=body, headers=JSON), bodies))
    assert [answer.status_code for answer in answers] == [200, 422, 422, 200]
    assert answers[1].json()["error"]["field"] == "price"


def test_the_page_is_served_without_foreign_content(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404
