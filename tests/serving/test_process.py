"""`fusecast serve` as a process: its start, its log, its end under load, and the commands of the container."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import polars as pl
import pytest
from tests.helpers.dockerfile import command
from tests.helpers.serving import server_process, wait_until
from typer.testing import CliRunner

from fusecast.cli.app import app
from fusecast.cli.commands.serve import name_bundles
from fusecast.errors import FusecastError
from fusecast.forecaster import Forecaster
from fusecast.serving.answers import to_rows

JSON = {"Content-Type": "application/json"}
CLIENTS = 6


def test_a_signal_under_load_loses_no_accepted_request(
    run: Path, other_run: Path, table: pl.DataFrame, tmp_path: Path
) -> None:
    runs = {"a": run, "b": other_run}
    expected = {name: to_rows(Forecaster.load(each).predict(data=table)) for name, each in runs.items()}
    # explanations make an answer slow, so that the server has some to give at any time
    body = json.dumps({"history": to_rows(table), "explanation": True}).encode()
    log = tmp_path / "log"
    with server_process(
        [f"{name}={each}" for name, each in runs.items()], log, FUSECAST_API_KEYS="key-of-a-client"
    ) as server:
        url, outcomes = server.url, list[tuple[str, int | str]]()
        stopped, port = threading.Event(), url.rpartition(":")[2]
        program, *check = command("HEALTHCHECK")
        assert program == "python"
        check = [word.replace("8000", port) for word in check]
        assert subprocess.run([sys.executable, *check], check=False, timeout=60).returncode == 0

        def ask(name: str) -> None:
            """Ask again and again, now with the same connection, now with a new one, until nobody listens."""
            with httpx.Client(timeout=60, headers=JSON | {"X-API-Key": "key-of-a-client"}) as client:
                while not stopped.is_set():
                    outcome: int | str
                    try:
                        one = client if name == "a" else httpx
                        answer = one.post(
                            f"{url}/v1/forecast?model={name}", content=body, headers=client.headers, timeout=60
                        )
                        outcome = answer.status_code
                        assert outcome != 200 or answer.json()["forecasts"] == expected[name]
                    except httpx.ConnectError:
                        outcome = "nobody listens"
                    except httpx.HTTPError as error:
                        outcome = type(error).__name__
                    outcomes.append((name, outcome))
                    if outcome == "nobody listens":
                        return

        threads = [threading.Thread(target=ask, args=("ab"[n % 2],)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        wait_until(lambda: sum(outcome == 200 for _, outcome in outcomes) >= 2 * CLIENTS)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        stopped.set()
        for thread in threads:
            thread.join(30)
        lines = server.lines()
    # a request that reaches a connection as the server closes it, or one that was never taken up, was not accepted
    not_accepted = {"ReadError", "RemoteProtocolError"}
    assert {outcome for _, outcome in outcomes} - not_accepted == {200, 503, "nobody listens"}
    closing = next(n for n, line in enumerate(lines) if line["message"] == "closing")
    accepted, after = lines[closing]["in_flight"], [line.get("status") for line in lines[closing + 1 :]]
    assert accepted > 0
    assert after.count(200) == accepted
    assert [line["message"] for line in lines if line["message"] != "request"] == ["listening", "closing", "closed"]
    answered = [line["status"] for line in lines if line.get("path") == "/v1/forecast"]
    assert sorted(answered) == sorted(outcome for _, outcome in outcomes if isinstance(outcome, int))
    assert "key-of-a-client" not in log.read_text()
    assert "price" not in log.read_text()


def refused(*words: object) -> str:
    """Return the error of a command that serves nothing."""
    ended = CliRunner().invoke(app, ["serve", *map(str, words)])
    assert isinstance(ended.exception, FusecastError), ended.output
    return str(ended.exception)


def test_what_cannot_be_served_is_told_in_words(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on port {port} of 127.0.0.1" in refused(run, "--port", port)
    assert "cannot listen" in refused(run, "--host", "no host")
    assert str(tmp_path) in refused(tmp_path)
    assert "two models are called 'a'" in refused(f"a={run}", f"a={run}")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "pip install 'fusecast[serve]'" in refused(run)


def test_bundles_are_named_by_their_folder_or_as_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    (tmp_path / "current").symlink_to("a=b")
    assert name_bundles(["runs/shop", "x=runs/other", "a=b", "current", "."]) == {
        "shop": Path("runs/shop"),
        "x": Path("runs/other"),
        "a=b": Path("a=b"),
        "current": Path("current"),
        tmp_path.name: Path(),
    }
