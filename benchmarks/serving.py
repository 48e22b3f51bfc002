"""Latency of `fusecast serve` under load: many clients at once, on this machine, each asking again after its answer.

    python -m benchmarks.serving --clients 50 --seconds 60 [--run RUN]

Without a run, a network of hidden size 64 is trained for a few steps: the time of an answer does not depend on how well
it forecasts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

LOOKBACK, HORIZON, SERIES = 168, 24, 20


def make_table() -> pl.DataFrame:
    """Return hourly series with a plan of their last day."""
    steps = np.arange(60 * 24 + HORIZON)
    start = datetime(2025, 1, 1)
    rng = np.random.default_rng(0)
    return pl.concat(
        pl.DataFrame(
            {
                "unique_id": [f"s{s:02}"] * len(steps),
                "ds": [start + timedelta(hours=int(step)) for step in steps],
                "y": 10 + s + np.sin(2 * np.pi * steps / 24) + rng.normal(scale=0.2, size=len(steps)),
                "price": rng.uniform(1, 2, len(steps)),
                "kind": [f"k{s % 3}"] * len(steps),
            }
        )
        for s in range(SERIES)
    ).with_columns(y=pl.when(pl.int_range(pl.len()).over("unique_id") < len(steps) - HORIZON).then("y"))


def train(folder: Path) -> None:
    from fusecast.forecaster import Forecaster

    training: dict[str, Any] = {"max_steps": 20, "members": 1, "final": "none", "logger": "none", "accelerator": "cpu"}
    Forecaster(HORIZON, LOOKBACK, known=["price"], static=["kind"], network={"hidden_size": 64}, training=training).fit(
        make_table(), folder=folder
    )


def make_bodies() -> list[bytes]:
    """Return a request for each series: its last three weeks, and its plan."""
    bodies = []
    for rows in make_table().partition_by("unique_id"):
        recent = rows.tail(21 * 24 + HORIZON).with_columns(pl.col("ds").dt.to_string("iso"))
        bodies.append(json.dumps({"history": recent.to_dict(as_series=False)}).encode())
    return bodies


def ask(port: int, bodies: list[bytes], number: int, ends: float, results: list[tuple[int, float]]) -> None:
    """Ask until the end, with one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while time.monotonic() < ends:
        began = time.monotonic()
        body = bodies[(number + len(results)) % len(bodies)]
        connection.request("POST", "/v1/forecast", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        results.append((answer.status, time.monotonic() - began))
    connection.close()


def start(run: Path, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server and return its process and port."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "fusecast", "serve", f"demo={run}", "--port", "0"], stderr=file, stdout=file
        )
    while process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if "url" in (values := json.loads(line)):
                return process, int(values["url"].rpartition(":")[2])
        time.sleep(0.2)
    raise SystemExit(log.read_text(encoding="utf-8"))


def read_metrics(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def measure(run: Path, clients: int, seconds: float, log: Path) -> None:
    """Print what the clients saw."""
    bodies = make_bodies()
    process, port = start(run, log)
    try:
        for number in (1, clients):
            spent, before = (1 if number == clients else 0.2) * seconds, read_metrics(port)
            ends, results = time.monotonic() + spent, [list[tuple[int, float]]() for _ in range(number)]
            threads = [
                threading.Thread(target=ask, args=(port, bodies, n, ends, each)) for n, each in enumerate(results)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            statuses = Counter(status for each in results for status, _ in each)
            times = 1000 * np.array([taken for each in results for _, taken in each])
            after = read_metrics(port)
            names = ("fusecast_batch_requests_sum", "fusecast_batch_requests_count")
            shared, passes = (after[name] - before.get(name, 0) for name in names)
            p50, p99 = np.percentile(times, [50, 99])
            print(
                f"{number} clients, {spent:.0f} s: {len(times) / spent:.1f} answers a second, p50 {p50:.0f} ms, "
                f"p99 {p99:.0f} ms, slowest {times.max():.0f} ms; statuses {dict(statuses)}; "
                f"{shared / max(passes, 1):.1f} requests a pass; load {os.getloadavg()[0]:.1f} on "
                f"{len(os.sched_getaffinity(0))} cores",
                flush=True,
            )
            if any(status >= 500 for status in statuses):
                raise SystemExit("the server failed")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--run", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fusecast-serving-") as folder:
        run = arguments.run or Path(folder, "run")
        if arguments.run is None:
            train(run)
        measure(run, arguments.clients, arguments.seconds, Path(folder, "log"))


if __name__ == "__main__":
    main()
