"""`make bench-folders`: memory and time of forecasting a folder, as the number of its partitions grows.

Every point is a process of its own with one thread; times are processor time, so that what else runs hardly matters.
The model has the defaults of the library (two members, calibrated), lookback 168 and horizon 24; it is trained for few
steps, since accuracy is not measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.libraries import ROOT
from benchmarks.machine import machine
from benchmarks.peers.protocol import peak_mb
from benchmarks.speed import RESULTS

LOOKBACK, HORIZON = 168, 24


def sales(first: int, series: int, rows: int) -> Any:
    """Draw hourly rows of some series, numbered from `first` on: a target, a static and an observed column."""
    import numpy as np
    import polars as pl

    random, t = np.random.default_rng(first), np.arange(rows)
    start = np.datetime64("2024-01-01T00", "us")
    level = np.repeat(random.uniform(20, 200, series), rows)
    wave = np.tile(1 + 0.4 * np.sin(t / 24 * 2 * np.pi), series)
    return pl.DataFrame(
        {
            "unique_id": pl.Series([f"s{n:08d}" for n in range(first, first + series)]).gather(
                np.repeat(np.arange(series), rows)
            ),
            "ds": np.tile(start + t * np.timedelta64(3_600_000_000, "us"), series),
            "y": level * wave + random.normal(size=series * rows),
            "region": np.repeat(random.integers(0, 5, series), rows),
            "visitors": level * wave * random.uniform(1, 2, series * rows),
        }
    )


def train(run: Path, steps: int, series: int, rows: int, members: int) -> dict[str, float]:
    """Train a model of all series, and return the windows a second that one network learns, by processor time."""
    from fusecast import Forecaster

    training = {
        "max_steps": steps,
        "members": 1,
        "final": "none",
        "logger": "none",
        "progress": False,
        "batch_size": 64,
    }
    options: dict[str, Any] = {"static": ["region"], "observed": ["visitors"], "categorical": ["region"]}
    table = sales(0, series, rows)
    forecaster = Forecaster(HORIZON, LOOKBACK, **options, calibration="none", blend="none", training=training)
    prepared = forecaster.prepare(table)
    prepared.encoded  # noqa: B018  what is measured begins after it
    began = time.process_time()
    forecaster.fit()
    spent = time.process_time() - began
    options["split"] = {"validation": 1, "test": 1}
    Forecaster(HORIZON, LOOKBACK, **options, training=training | {"max_steps": 2, "members": members}).fit(table).save(
        run
    )
    return {"windows_per_s": steps * 64 / spent, "steps": float(steps), "seconds": spent}


def predict(run: Path, data: Path, out: Path) -> dict[str, float]:
    """Forecast a folder; return rows, seconds and the peak of the memory, beside that of the loaded model alone."""
    from fusecast import Forecaster, predict_folder

    first = min(data.glob("*.parquet"))
    Forecaster.load(run).predict(data=first)
    one = peak_mb()
    began = time.process_time()
    result = predict_folder(run, data, out)
    return {
        "seconds": time.process_time() - began,
        "one_mb": one,
        "mb": peak_mb(),
        "partitions": float(result.partitions),
        "forecast_rows": float(result.rows),
    }


def measure(kind: str, *words: object) -> dict[str, float]:
    """Train or predict."""
    texts = [str(word) for word in words]
    if kind == "train":
        return train(Path(texts[0]), *map(int, texts[1:]))
    return predict(*map(Path, texts))


def ask(*words: object) -> dict[str, Any]:
    """Run a part of this file in a process of its own, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-P", "-m", "benchmarks.folders", "--part", *map(str, words)]
    ran = subprocess.run(
        command, env={**os.environ, **threads, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(ran.stderr)
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def markdown(points: Sequence[dict[str, Any]], training: dict[str, Any]) -> str:
    """Write the table."""
    lines = [
        "| partitions | series | rows | s | series/s | rows/s | peak RSS, MiB | of one partition alone |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for point in points:
        rates = [point[name] / point["seconds"] for name in ("series", "rows")]
        cells = [point["partitions"], point["series"], point["rows"], point["seconds"], *rates]
        cells += [point["mb"], point["one_mb"]]
        lines.append("| " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |")
    rate = f"Training, one network, lookback {LOOKBACK}, horizon {HORIZON}: {training['windows_per_s']:,.0f} windows/s."
    return "\n".join([*lines, "", rate]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every number of partitions, print the table, and write JSON and Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folders", description="Forecasting folders.")
    parser.add_argument("--partitions", default="2,8,32", help="numbers of partitions")
    parser.add_argument("--series", type=int, default=500, help="series of a partition")
    parser.add_argument("--rows", type=int, default=500, help="rows of a series")
    parser.add_argument("--steps", type=int, default=60, help="training steps that are measured")
    parser.add_argument("--members", type=int, default=2, help="networks of the model that forecasts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        print(json.dumps(measure(*options.part)))
        return 0
    record: dict[str, Any] = {"machine": machine(), "points": []}
    with tempfile.TemporaryDirectory(prefix="fusecast-folders-") as scratch:
        counts = sorted(map(int, options.partitions.split(",")))
        run, written, largest = Path(scratch, "run"), 0, counts[-1]
        record["training"] = ask("train", run, options.steps, largest * options.series, options.rows, options.members)
        for count in counts:
            data = Path(scratch, "data")
            data.mkdir(exist_ok=True)
            for number in range(written, count):
                frame = sales(number * options.series, options.series, options.rows)
                frame.write_parquet(data / f"{number:05d}.parquet")
            written = count
            point = ask("predict", run, data, Path(scratch, f"out-{count}"))
            series = count * options.series
            record["points"].append({**point, "series": series, "rows": series * options.rows})
            print(record["points"][-1], file=sys.stderr, flush=True)
    text = markdown(record["points"], record["training"])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "folders.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.out / "folders.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
