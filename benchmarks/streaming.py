"""`make bench-streaming`: a run on a Parquet file that is read in pieces, beside the same run in memory.

`make bench-streaming STREAM_ARGS="--rows 1000000,10000000"`. Each run is a process of its own, from the table to the
forecasts, and the two ways alternate. Measured are the peak of the resident set up to the end of each stage (pages of
mapped files count) and seconds; in another process, training steps on both panels in turn. Forecasts have to be equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.libraries import ROOT
from benchmarks.machine import machine
from benchmarks.peers.protocol import peak_mb

ROWS_EACH = 10_000
CHUNK_SERIES = 50
STEPS_PER_TURN = 10
COLUMNS = {
    "static": ["kind"],
    "known": ["price", "promotion", "weather"],
    "observed": ["visitors", "temperature", "state"],
}


def write_table(path: Path, rows: int) -> None:
    """Write hourly series of :data:`ROWS_EACH` rows and ten columns into a Parquet file."""
    import numpy as np
    import polars as pl
    import pyarrow.parquet as pq

    writer, random = None, np.random.default_rng(0)
    start, hours = np.datetime64("2020-01-01T00", "us"), np.arange(ROWS_EACH)
    for begin in range(0, max(rows // ROWS_EACH, 1), CHUNK_SERIES):
        series = np.arange(begin, min(begin + CHUNK_SERIES, max(rows // ROWS_EACH, 1)))
        size = len(series) * ROWS_EACH
        t = np.tile(hours, len(series))
        level = np.repeat(50 + 10 * (series % 17), ROWS_EACH)
        frame = pl.DataFrame(
            {
                "unique_id": pl.Series([f"shop {number:06d}" for number in series]).gather(
                    np.repeat(series - begin, ROWS_EACH)
                ),
                "ds": np.tile(start + hours * np.timedelta64(3_600_000_000, "us"), len(series)),
                "y": level * (1 + 0.3 * np.sin(2 * np.pi * t / 24)) + random.normal(size=size),
                "kind": pl.Series(["north", "south", "west"]).gather(np.repeat(series % 3, ROWS_EACH)),
                "price": 1 + random.random(size),
                "promotion": random.integers(0, 2, size).astype(float),
                "weather": pl.Series(["sun", "rain", "snow"]).gather(random.integers(0, 3, size)),
                "visitors": level + random.normal(size=size),
                "temperature": 10 + random.normal(size=size),
                "state": pl.Series(["open", "closed"]).gather(random.integers(0, 2, size)),
            }
        )
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def run(path: Path, *, streaming: bool, steps: int) -> dict[str, Any]:
    """Fit, evaluate and predict, and return what it took."""
    import polars as pl

    from fusecast import Forecaster

    values: dict[str, Any] = {"import_mb": round(peak_mb())}

    @contextmanager
    def measured(stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        values[f"{stage}_seconds"] = round(time.perf_counter() - began, 2)
        values[f"{stage}_peak_mb"] = round(peak_mb())

    training = {"max_steps": steps, "members": 1, "progress": False, "logger": "none"}
    forecaster = Forecaster(24, 168, **COLUMNS, streaming=streaming, training=training)
    with measured("prepare"):
        prepared = forecaster.prepare(path)
    with measured("fit"):
        forecaster.fit()
    panel = prepared.panel
    every = pl.DataFrame({"unique_id": panel.ids.tolist()}).join(pl.DataFrame({"step": range(24)}), how="cross")
    times = panel.times_at(
        [s for s in range(panel.num_series) for _ in range(24)], [ROWS_EACH + h for h in range(24)] * panel.num_series
    )
    future = every.with_columns(times.alias("ds"), price=1.5, promotion=0.0, weather=pl.lit("sun")).drop("step")
    with measured("predict"):
        forecasts = forecaster.predict(future)
    values["forecasts"] = hashlib.sha256(forecasts.select(pl.selectors.float()).to_numpy().tobytes()).hexdigest()[:16]
    if streaming:
        from fusecast.io.panel_cache import open_streamed

        with measured("reopen"):
            open_streamed(path, panel.schema)
    return values


def compare_steps(path: Path, steps: int) -> dict[str, Any]:
    """Train two networks in turn, one on the panel in memory and one on the mapped panel, and compare their steps.

    Times are processor time of one process with one thread, that of page faults in the system included, so that what
    else runs on the machine matters little. Turns have ten steps.
    """
    import torch

    from fusecast import Forecaster
    from fusecast.model.losses import quantile_loss
    from fusecast.model.tft import TemporalFusionTransformer
    from fusecast.windows.dataloader import make_loader
    from fusecast.windows.sampler import SeededSampler

    torch.set_num_threads(1)

    def train(streaming: bool) -> Iterator[None]:
        prepared = Forecaster(24, 168, **COLUMNS, streaming=streaming).prepare(path)
        torch.manual_seed(0)
        network = TemporalFusionTransformer(prepared.model_config).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
        sampler = SeededSampler(len(prepared.train), batch_size=32, shuffle=True)
        for batch in make_loader(prepared.encoded, prepared.train, sampler):
            optimizer.zero_grad()
            loss = quantile_loss(network(batch).quantiles, batch.target, batch.target_mask, network.config.quantiles)
            loss.backward()
            optimizer.step()
            yield

    spent = {"memory": 0.0, "streamed": 0.0}
    trainings = {"memory": train(streaming=False), "streamed": train(streaming=True)}
    for turn in range(steps // STEPS_PER_TURN + 1):
        for way, training in trainings.items():
            began = time.process_time()
            for _ in range(STEPS_PER_TURN):
                next(training)
            spent[way] += time.process_time() - began if turn else 0.0  # the first turn has the preparation
    done = steps // STEPS_PER_TURN * STEPS_PER_TURN
    return {f"steps_per_second_{way}": round(done / seconds, 2) for way, seconds in spent.items()} | {
        "throughput_of_memory": round(spent["memory"] / spent["streamed"], 3)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size, and print a line of JSON for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1000000", help="numbers of rows, separated by commas")
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way")
    parser.add_argument("--folder", type=Path, default=None, help="folder for the tables and panels")
    parser.add_argument(
        "--largest-in-memory", type=int, default=20_000_000, help="rows up to which the run in memory is measured too"
    )
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        way, _, path = options.one.partition(":")
        if way == "steps":
            print(json.dumps(compare_steps(Path(path), options.steps)))
        else:
            print(json.dumps(run(Path(path), streaming=way == "streamed", steps=options.steps)))
        return
    print(json.dumps(machine()))
    for rows in map(int, options.rows.split(",")):
        with tempfile.TemporaryDirectory(prefix="fusecast-streaming-", dir=options.folder) as scratch:
            path = Path(scratch) / "table.parquet"
            write_table(path, rows)
            print(json.dumps({"rows": rows, "bytes": path.stat().st_size}), flush=True)
            ways = ("memory", "streamed") if rows <= options.largest_in_memory else ("streamed",)
            forecasts = set()
            for way in (*ways * options.rounds, *(("steps",) if len(ways) > 1 else ())):
                environment = {**os.environ, "FUSECAST_PANELS": str(Path(scratch) / "panels")}
                command = [sys.executable, "-m", "benchmarks.streaming", "--one", f"{way}:{path}"]
                command += ["--steps", str(options.steps)]
                result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
                if result.returncode:
                    print(json.dumps({"way": way, "error": result.stderr.splitlines()[-3:]}), flush=True)
                    continue
                values = json.loads(result.stdout.splitlines()[-1])
                forecasts |= {values["forecasts"]} if "forecasts" in values else set()
                print(json.dumps({"way": way, **values}), flush=True)
            print(json.dumps({"rows": rows, "forecasts_equal": len(forecasts) <= 1}), flush=True)


if __name__ == "__main__":
    main()
