"""Bad, huge and slow requests, too many of them, and requests without a key: each gets its answer."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.helpers.serving import running, wait_until, zip_sheet

from fusecast.serving import decoding
from fusecast.serving.answers import to_rows
from fusecast.serving.app import create_app
from fusecast.serving.models import Models
from fusecast.serving.settings import Settings, read_keys

JSON = {"Content-Type": "application/json"}
Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(run: Path) -> Iterator[Serve]:
    """Return a function from settings to a client of a server with them; its application is `client.app`."""
    with ExitStack() as stack:

        def start(**settings: Any) -> httpx.Client:
            app = create_app(Models({"shop": run}), Settings(**settings))
            url = stack.enter_context(running(app))
            client = stack.enter_context(httpx.Client(base_url=url, timeout=60))
            client.app = app  # type: ignore[attr-defined]
            return client

        yield start


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let every forecast wait for an event."""
    event = threading.Event()

    def wait(*_: Any) -> tuple[bytes, int]:
        assert event.wait(30)
        return b"{}", 1

    monkeypatch.setattr("fusecast.serving.app.answer_forecast", wait)
    yield event
    event.set()


def body_of(table: pl.DataFrame, **more: Any) -> bytes:
    return json.dumps({"history": to_rows(table), **more}).encode()


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    assert set(answer.json()["error"]) == {"code", "message", "hint", "field", "series", "row"}
    error: dict[str, Any] = answer.json()["error"]
    return error


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


BAD_BODIES: dict[str, tuple[Any, str | None]] = {
    "no JSON": (b"{", None),
    "no object": (b"[1]", None),
    "nothing": (b"", None),
    "no history": (b"{}", "history"),
    "NaN": (b'{"history": [{"y": NaN}]}', None),
    "a huge number": (b'{"history": [{"y": 1' + b"0" * 30 + b"}]}", None),
    "a huge float": (b'{"history": [{"y": 1e999}]}', None),
    "a name twice": (b'{"history": [], "history": []}', None),
    "nested deeply": (b'{"history": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", None),
    "no UTF-8": (b'{"history": "\xff"}', None),
    "a path": ({"history": "/etc/passwd"}, "history"),
    "an address": ({"history": "file:///etc/passwd", "plan": "s3://bucket/plan.parquet"}, "history"),
    "a path as a column": ({"history": {"ds": "/etc/passwd"}}, "ds"),
    "a path as a plan": ({"history": [], "plan": "/etc/passwd"}, None),
    "a number": ({"history": 3}, "history"),
    "rows that are none": ({"history": [1, 2]}, "history"),
    "columns of two lengths": ({"history": {"ds": ["2021-01-01"], "y": [1, 2]}}, "history"),
    "lists in cells": ({"history": [{"y": [1]}]}, "y"),
    "objects in cells": ({"history": {"y": [{}]}}, "y"),
    "no rows": ({"history": []}, None),
    "no columns": ({"history": {}}, None),
    "empty rows": ({"history": [{}, {}]}, None),
    "half a character": (b'{"history": [{"\\ud800": "\\udfff", "ds": "\\ud800"}]}', None),
    "other columns": ({"history": [{"a": 1}]}, "unique_id"),
    "levels beyond 1": ({"history": "table", "quantiles": [1.5]}, None),
    "levels that fall": ({"history": "table", "quantiles": [0.5, 0.1]}, None),
    "levels that are none": ({"history": "table", "quantiles": "x"}, "quantiles"),
    "an unknown option": ({"history": "table", "horizon": 3}, "horizon"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_refused_in_words(name: str, client: httpx.Client, table: pl.DataFrame) -> None:
    body, field = BAD_BODIES[name]
    if isinstance(body, dict):
        body = body | ({"history": to_rows(table)} if body["history"] == "table" else {})
        body = json.dumps(body).encode()
    error = refusal(client.post("/v1/forecast", content=body, headers=JSON), 422)
    assert error["message"]
    assert field is None or error["field"] == field


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no rows"),
        (b"\x00\x01\x02", ""),
        (b"PAR1 and no more", "cannot be read"),
        (b"ARROW1\x00\x00", "cannot be read"),
        (b"PK\x03\x04 and no more", "cannot be read"),
        (b"\xff\xff\xff\xff\x10\x00\x00\x00", "cannot be read"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"%PDF-1.7", "PDF"),
        (b"\xd0\xcf\x11\xe0", "2007"),
        (b"a,b\n1,2,3\n", "3"),
        (b"a\n\xff\xfe\n", "UTF-8"),
    ],
)
def test_a_bad_file_is_refused_in_words(content: bytes, words: str, client: httpx.Client) -> None:
    for route, name in (("/v1/forecast", "history"), ("/v1/inspect", "table")):
        error = refusal(client.post(route, files={name: ("a.csv", content)}), 422)
        assert words in error["message"]
        assert "/tmp" not in json.dumps(error)


def test_bodies_that_no_route_reads(client: httpx.Client) -> None:
    refusal(client.post("/v1/forecast", content=b"x", headers={"Content-Type": "text/html"}), 415)
    refusal(client.post("/v1/what-if", content=b"x", headers={"Content-Type": "text/csv"}), 415)
    refusal(client.post("/v1/forecast", content=b"x", headers={"Content-Type": "multipart/form-data"}), 422)
    refusal(client.post("/v1/forecast", files={"other": b"x"}), 422)
    refusal(client.post("/v1/forecast", data={"history": "/etc/passwd"}, files={"plan": b"x"}), 422)
    refusal(client.get("/v1/nothing"), 404)
    refusal(client.get("/v1/forecast"), 405)
    assert refusal(client.get("/v1/model?model=shpo"), 404)["hint"] == "did you mean 'shop'?"


def test_a_huge_body_is_cut_off(serve: Serve, table: pl.DataFrame) -> None:
    client = serve(max_bytes=100_000)
    assert client.post("/v1/forecast", content=body_of(table), headers=JSON).status_code == 200
    assert "100,000 bytes" in refusal(client.post("/v1/forecast", content=b"x" * 200_000, headers=JSON), 413)["message"]
    with connect(client) as connection:  # without a length, and without an end
        head = b"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"1d4c0\r\n" + b"1" * 120_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_tables_with_too_many_rows_or_cells(serve: Serve, table: pl.DataFrame, tmp_path: Path) -> None:
    client = serve(max_rows=300)
    more = pl.concat([table, table])
    assert "300 rows" in refusal(client.post("/v1/forecast", content=body_of(more), headers=JSON), 413)["message"]
    csv = more.write_csv().encode()
    refusal(client.post("/v1/forecast", content=csv, headers={"Content-Type": "text/csv"}), 413)
    wide = json.dumps({"history": [{f"c{n}": 1} for n in range(200)]})
    assert "6,000 cells" in refusal(client.post("/v1/forecast", content=wide, headers=JSON), 413)["message"]
    many = pl.DataFrame({"unique_id": [f"s{n}" for n in range(200)], "ds": ["2021-03-01"] * 200, "y": [1.0] * 200})
    assert "forecasts" in refusal(client.post("/v1/forecast", content=body_of(many), headers=JSON), 413)["message"]
    path = tmp_path / "bomb.parquet"
    column = pa.array([0.0] * 1_000_000)
    with pq.ParquetWriter(path, pa.schema([("y", pa.float64())])) as writer:
        for _ in range(20):
            writer.write_table(pa.table({"y": column}))
    assert path.stat().st_size < 100_000
    assert "300 rows" in refusal(client.post("/v1/inspect", files={"table": path.read_bytes()}), 413)["message"]


@pytest.mark.parametrize("kind", ["xlsx", "arrow", "csv"])
def test_a_small_file_that_would_fill_the_memory(
    kind: str, serve: Serve, table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "FREE_BYTES", 100 * 2**20)
    client = serve(max_rows=100_000_000 if kind == "arrow" else 50_000, max_bytes=10**7, timeout=120.0)
    monkeypatch.setattr(Settings, "max_cells", 1_000_000)
    if kind == "xlsx":
        content = zip_sheet(f"<row>{'<c><v>1</v></c>' * 100}</row>" * 80_000)
    elif kind == "arrow":
        sink = pa.BufferOutputStream()
        batch = pa.record_batch({"y": pa.array([0.0] * 5_000_000)})
        with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            for _ in range(12):
                writer.write_batch(batch)
        content = sink.getvalue().to_pybytes()
    else:
        content = b",".join(b"c%d" % n for n in range(10_000)) + b"\n" + b"1\n" * 40_000
    assert len(content) < 10**6
    assert "memory" in refusal(client.post("/v1/inspect", files={"table": content}), 413)["message"]
    assert client.post("/v1/inspect", files={"table": table.write_csv().encode()}).status_code == 200


def test_a_slow_body_ends_in_408(serve: Serve) -> None:
    client = serve(body_timeout=0.3)
    with connect(client) as connection:
        head = b"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
        connection.sendall(head + b"{")
        answer = b"".join(iter(lambda: connection.recv(4000), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"slow"' in answer


def test_a_client_that_goes_away_is_no_failure(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fusecast.serving")
    client = serve()
    with connect(client) as connection:
        head = b"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 50\r\n\r\n"
        connection.sendall(head + b"a")
        wait_until(lambda: client.app.state.gate.in_flight == 1)  # type: ignore[attr-defined]
    wait_until(lambda: caplog.records)
    assert [record.__dict__["fields"]["status"] for record in caplog.records] == [499]


def test_a_client_that_never_ends_the_head_of_a_request_is_cut_off(serve: Serve) -> None:
    client = serve(header_timeout=0.3)
    with connect(client) as connection:
        began = time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012  whichever of the calls notices
            for letter in b"GET /healthz HTTP/1.1\r\nHost: " + b"x" * 1000:
                connection.sendall(bytes([letter]))
                time.sleep(0.02)
        assert time.monotonic() - began < 10
    assert client.get("/healthz").status_code == 200


def test_too_many_requests_are_told_when_to_come_back(serve: Serve, table: pl.DataFrame, held: threading.Event) -> None:
    client = serve(threads=1, queue=2)
    body = body_of(table.head(5))
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(client.post, "/v1/forecast", content=body, headers=JSON) for _ in range(3)]
        wait_until(lambda: client.app.state.workers.pending == 3)  # type: ignore[attr-defined]
        answer = client.post("/v1/forecast", content=body, headers=JSON)
        refusal(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1
        assert "fusecast_queue_length 3.0" in client.get("/metrics").text
        held.set()
        assert [each.result().status_code for each in waiting] == [200] * 3
    assert client.post("/v1/forecast", content=body, headers=JSON).status_code == 200


def test_bodies_together_may_take_no_more_memory_than_some(serve: Serve) -> None:
    client = serve(max_bytes=1000)
    head = b"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    gate = client.app.state.gate  # type: ignore[attr-defined]
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(client)).sendall(head + b" " * 990)
        wait_until(lambda: gate.body_bytes == 8 * 990)
        refusal(client.post("/v1/forecast", content=b" " * 500, headers=JSON), 429)
    wait_until(lambda: gate.body_bytes == 0)


def test_a_deadline(serve: Serve, table: pl.DataFrame, held: threading.Event) -> None:
    client = serve(timeout=0.2, threads=1)
    refusal(client.post("/v1/forecast", content=body_of(table.head(5)), headers=JSON), 504)
    held.set()
    wait_until(lambda: client.app.state.workers.pending == 0)  # type: ignore[attr-defined]
    assert client.post("/v1/forecast", content=body_of(table.head(5)), headers=JSON).status_code == 200


def test_keys(serve: Serve, table: pl.DataFrame) -> None:
    keys = read_keys({"FUSECAST_API_KEYS": " first, schlüssel ,,"})
    assert keys == ("first", "schlüssel")
    client = serve(keys=keys)
    for route in ("/v1/models", "/v1/model", "/metrics", "/openapi.json"):
        assert refusal(client.get(route), 401)["code"] == "key"
        assert client.get(route, headers={"X-API-Key": "schlüssel".encode()}).status_code == 200
        assert client.get(route, headers={"Authorization": "bearer first"}).status_code == 200
    answer = client.post("/v1/forecast", content=body_of(table), headers=JSON | {"Authorization": "Bearer wrong"})
    refusal(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    for key in ("", "fir", "first,schlüssel", "f\xff"):
        refusal(client.get("/v1/models", headers={"X-API-Key": key.encode("latin-1")}), 401)
    for route in ("/healthz", "/readyz", "/"):
        assert client.get(route).status_code == 200
    assert "first" not in repr(client.app.state.settings)  # type: ignore[attr-defined]


def test_a_failure_tells_an_id_and_nothing_else(
    client: httpx.Client, table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> tuple[bytes, int]:
        raise RuntimeError("secret value of a cell")

    monkeypatch.setattr("fusecast.serving.app.answer_forecast", fail)
    caplog.set_level(logging.INFO, "fusecast.serving")
    answer = client.post("/v1/forecast", content=body_of(table), headers=JSON | {"X-Request-ID": "mine-1"})
    assert "mine-1" in refusal(answer, 500)["hint"]
    assert answer.headers["x-request-id"] == "mine-1"
    assert "secret" not in answer.text
    wait_until(lambda: len(caplog.records) > 1)  # the second line is written after the answer
    failed, request = (record.__dict__ for record in caplog.records)
    assert failed["fields"]["error"] == "RuntimeError"
    assert failed["fields"]["at"][-1].endswith(" fail")
    assert request["fields"] | {"ms": 0} == {
        "id": "mine-1",
        "method": "POST",
        "path": "/v1/forecast",
        "status": 500,
        "ms": 0,
        "rows": None,
        "model": "shop",
    }
    assert "secret" not in str([record.__dict__ for record in caplog.records])


def test_a_strange_request_id_is_replaced(client: httpx.Client) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": 'a"b{}' * 30})
    assert answer.headers["x-request-id"].isalnum()
