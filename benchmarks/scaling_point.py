"""One point of `benchmarks.scaling`, in a process of its own: it is asked in JSON and answers in JSON.

All times are processor time of one thread, so that what else runs on the machine hardly matters.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import WARM_UP, forget_peak, now_mb, peak_mb

SECONDS = 3.0


def building(num_series: int, rows: int, *, stream: bool = False) -> dict[str, float]:
    """Build `num_series` series of `rows` rows altogether, and draw batches from them.

    Streamed, the rows come from a Parquet file that is sorted, and go to memory-mapped files.
    """
    import polars as pl

    from fusecast.config import RunConfig
    from fusecast.windows.dataloader import make_loader
    from fusecast.windows.sampler import SeededSampler
    from fusecast.workflows.prepare import prepare

    each = rows // num_series
    horizon, lookback = min(24, each // 4), min(168, each // 2)
    with tempfile.TemporaryDirectory(prefix="fusecast-scaling-") as scratch:
        if stream:
            return _streamed(num_series, each, Path(scratch), horizon, lookback)
        frame = pl.concat(chunk_of_rows(0, num_series, each), rechunk=True)
        known = ["hour", "time"]
        config = RunConfig.parse(
            {
                "horizon": horizon,
                "lookback": lookback,
                "table": {"known": known},
                "features": {"calendar": (), "series_embedding": num_series > 1},
                "split": {"validation": 0, "test": 0},
            }
        )
        before = now_mb()
        forget_peak()
        began = time.process_time()
        prepared = prepare(frame, config)
        encoded, index = prepared.encoded, prepared.train
        spent = time.process_time() - began
        grown = peak_mb() - before
        loader = make_loader(encoded, index, SeededSampler(len(index), batch_size=64, shuffle=True))
        return {
            "seconds": spent,
            "mb": grown,
            "loader_windows_per_s": loader_rate(loader),
            "rows": float(each * num_series),
        }


def chunk_of_rows(first: int, last: int, each: int) -> Iterator[Any]:
    """Give the rows of series `first` to `last` (not included), some hundred thousand at a time."""
    import numpy as np
    import polars as pl

    together = max(1, 500_000 // each)
    t = np.arange(each)
    start = np.datetime64("2000-01-01T00", "us")
    for begin in range(first, last, together):
        series = np.arange(begin, min(begin + together, last))
        random = np.random.default_rng(begin)
        size = len(series) * each
        yield pl.DataFrame(
            {
                "unique_id": pl.Series([f"s{number:06d}" for number in series]).gather(np.repeat(series - begin, each)),
                "ds": np.tile(start + t * np.timedelta64(3_600_000_000, "us"), len(series)),
                "y": random.normal(size=size).astype(np.float32),
                "hour": np.tile((t % 24 / 23).astype(np.float32), len(series)),
                "time": np.tile((t / each).astype(np.float32), len(series)),
            }
        )


def _streamed(num_series: int, each: int, folder: Path, horizon: int, lookback: int) -> dict[str, float]:
    import pyarrow.parquet as pq

    from fusecast.data.schema import Column, Role, Schema
    from fusecast.io.streaming import stream_parquet
    from fusecast.windows.window_index import WindowIndex

    path, writer = folder / "rows.parquet", None
    for chunk in chunk_of_rows(0, num_series, each):
        table = chunk.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()
    columns = (
        Column(name="y", role=Role.TARGET),
        Column(name="hour", role=Role.KNOWN),
        Column(name="time", role=Role.KNOWN),
    )
    before = now_mb()
    forget_peak()
    began = time.process_time()
    panel = stream_parquet(path, Schema(columns=columns, frequency="1h"), folder / "panel")
    index = WindowIndex.between(lengths=panel.lengths, begin=0, end=panel.lengths, lookback=lookback, horizon=horizon)
    spent = time.process_time() - began
    return {"seconds": spent, "mb": peak_mb() - before, "windows": float(len(index)), "rows": float(panel.num_rows)}


def loader_rate(loader: Any) -> float:
    """Windows a second of a loader, for a second."""
    done, began = 0, time.process_time()
    while True:
        for batch in loader:
            done += len(batch.window)
            spent = time.process_time() - began
            if spent > 1.0:
                return done / spent


def stepping(
    *, lookback: int = 168, variables: int = 4, hidden: int = 64, batch: int = 16, seconds: float = SECONDS
) -> dict[str, float]:
    """Train a step on a random batch, and forecast it: `variables` inputs in the past, all but the target known."""
    import torch

    from fusecast.model.batch import example_batch
    from fusecast.model.config import ModelConfig
    from fusecast.model.losses import quantile_loss
    from fusecast.model.tft import TemporalFusionTransformer

    torch.manual_seed(0)
    config = ModelConfig(
        horizon=24, lookback=lookback, observed_reals=1, known_reals=variables - 1, hidden_size=hidden, num_heads=4
    )
    small = replace(config, lookback=2, horizon=1, known_reals=1, hidden_size=4)
    TemporalFusionTransformer(small)(example_batch(small)).quantiles.sum().backward()  # what torch takes once for all
    before = now_mb()
    forget_peak()
    network = TemporalFusionTransformer(config).train()
    drawn = example_batch(config, batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def train() -> None:
        optimizer.zero_grad()
        quantile_loss(network(drawn).quantiles, drawn.target, drawn.target_mask, config.quantiles).backward()
        optimizer.step()

    def predict() -> None:
        with torch.inference_mode():
            network(drawn)

    training = best_of(train, seconds)
    grown = peak_mb() - before
    network.eval()
    return {
        "seconds": training / batch,
        "mb": grown,
        "total_mb": peak_mb(),
        "predicting_seconds": best_of(predict, seconds / 2) / batch,
    }


def best_of(call: Callable[[], None], seconds: float) -> float:
    """The quickest of the calls that fit into some seconds."""
    for _ in range(WARM_UP if seconds > 0.1 else 0):
        call()
    best, began = float("inf"), time.process_time()
    while best == float("inf") or time.process_time() - began < seconds:
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    result = {"building": building, "stepping": stepping}[request.pop("kind")](**request)
    print("RESULT " + json.dumps(result))
