"""`make bench-scaling`: time and memory as series, rows, lookback, variables and hidden size grow.

Every point is a process of its own; times are processor time, with one thread. The exponent is that of cost between the
last two points of an axis: 1 is linear, 2 is quadratic.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.libraries import CODE
from benchmarks.machine import machine
from benchmarks.speed import RESULTS, words

LINEAR = 1.15  # an exponent above this is called worse than linear


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What grows, and what is measured at each size."""

    title: str
    sizes: tuple[int, ...]
    kind: str
    name: str  # of the option that grows
    fixed: dict[str, Any] = field(default_factory=dict)


AXES = {
    "series": Axis(
        title="series, 200 rows each: building",
        sizes=(10, 100, 1_000, 10_000, 100_000),
        kind="building",
        name="num_series",
        fixed={"rows_each": 200},
    ),
    "rows": Axis(
        title="rows of 100 series: building in memory",
        sizes=(100_000, 1_000_000, 10_000_000, 100_000_000),
        kind="building",
        name="rows",
        fixed={"num_series": 100},
    ),
    "stream": Axis(
        title="rows of 100 series: streaming from Parquet to memory-mapped files",
        sizes=(100_000, 1_000_000, 10_000_000, 100_000_000),
        kind="building",
        name="rows",
        fixed={"num_series": 100, "stream": True},
    ),
    "lookback": Axis(
        title="lookback: a training step, hidden 64, 4 variables",
        sizes=(24, 96, 168, 500, 1_000, 2_000),
        kind="stepping",
        name="lookback",
    ),
    "variables": Axis(
        title="variables: a training step, hidden 64, lookback 168",
        sizes=(2, 8, 32, 100, 200),
        kind="stepping",
        name="variables",
    ),
    "hidden": Axis(
        title="hidden size: a training step, lookback 168, 4 variables",
        sizes=(16, 32, 64, 128, 160, 320),
        kind="stepping",
        name="hidden",
    ),
}


def measure(axis: Axis, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one point in a process; an error is a result too."""
    request = {"kind": axis.kind, **axis.fixed, axis.name: size}
    if (each := request.pop("rows_each", None)) is not None:
        request["rows"] = size * each
    if axis.kind == "stepping":
        request |= {"batch": options.batch, "seconds": options.seconds}
    threads = "1"
    environment = {
        **os.environ,
        "PYTHONPATH": CODE,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "POLARS_MAX_THREADS": threads,
    }
    command = [sys.executable, "-P", "-m", "benchmarks.scaling_point", json.dumps(request)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=options.timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return {"size": size, "error": f"no answer within {options.timeout:.0f} s"}
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return {"size": size, **json.loads(line.removeprefix("RESULT "))}
    last = done.stderr.strip().splitlines()[-1:] or [f"it ended with code {done.returncode}"]
    return {"size": size, "error": last[0]}


def exponent(points: Sequence[dict[str, Any]], value: str) -> float | None:
    """Slope of cost over size between the last two points, in logarithms."""
    usable = [point for point in points if point.get(value, 0) > 0]
    if len(usable) < 2:
        return None
    low, high = usable[-2:]
    return math.log(high[value] / low[value]) / math.log(high["size"] / low["size"])


def verdict(points: Sequence[dict[str, Any]], value: str) -> str:
    """The exponent in words."""
    slope = exponent(points, value)
    if slope is None:
        return "-"
    return f"{slope:.2f}" + (" (worse than linear)" if slope > LINEAR else "")


def markdown(results: dict[str, list[dict[str, Any]]]) -> str:
    """Write one table an axis."""
    parts = []
    for name, points in results.items():
        axis = AXES[name]
        stepping = axis.kind == "stepping"
        time_title, unit = ("ms a window", 1e3) if stepping else ("seconds", 1.0)
        third = "prediction, ms a window" if stepping else "loader, windows/s"
        lines = [
            f"**{axis.title}**",
            "",
            f"| {name if name != 'stream' else 'rows'} | {time_title} | memory, MiB | {third} |",
            "| ---: | ---: | ---: | ---: |",
        ]
        for point in points:
            if "error" in point:
                lines.append(f"| {point['size']:,} | {point['error']} | | |")
                continue
            extra = point.get("predicting_seconds", 0) * 1e3 if stepping else point.get("loader_windows_per_s", 0)
            shown = (f"{extra:.3g}" if stepping else f"{extra:,.0f}") if extra else "-"
            lines.append(f"| {point['size']:,} | {point['seconds'] * unit:.3g} | {point['mb']:,.0f} | {shown} |")
        good = [point for point in points if "error" not in point]
        lines.append(f"| exponent | {verdict(good, 'seconds')} | {verdict(good, 'mb')} | |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def plot(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw time and memory over size, an axis a column, both logarithmic, with a dotted line of slope 1."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    shown = {name: [p for p in points if "error" not in p] for name, points in results.items()}
    shown = {name: points for name, points in shown.items() if points}
    figure, grid = plt.subplots(2, max(1, len(shown)), figsize=(3 * max(1, len(shown)), 5), squeeze=False)
    for column, (name, points) in enumerate(shown.items()):
        sizes = [point["size"] for point in points]
        for row, (value, title) in enumerate((("seconds", "s"), ("mb", "MiB"))):
            axes, values = grid[row][column], [max(point[value], 1e-9) for point in points]
            axes.loglog(sizes, values, "o-", color="#1f6f8b")
            axes.loglog(sizes, [values[-1] * size / sizes[-1] for size in sizes], ":", color="#999999", linewidth=1)
            axes.grid(visible=True, alpha=0.3)
            axes.set_title(name if row == 0 else "", fontsize=10)
            per = " / window" if row == 0 and AXES[name].kind == "stepping" else ""
            axes.set_ylabel(title + per, fontsize=8)
            axes.tick_params(labelsize=7)
            for one in (axes.xaxis, axes.yaxis):
                one.set_minor_formatter(NullFormatter())
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all points, print the tables, write JSON, Markdown and a picture; 1 where a point failed."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, Any]]] = {}
    record = {"machine": machine(), "options": {k: str(v) for k, v in vars(options).items()}, "results": results}
    for name in options.axes:
        sizes = AXES[name].sizes if options.largest is None else [s for s in AXES[name].sizes if s <= options.largest]
        results[name] = []
        for size in sizes:
            results[name].append(measure(AXES[name], size, options))
            print(name, results[name][-1], file=sys.stderr, flush=True)
            (options.out / "scaling.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = markdown(results)
    (options.out / "scaling.md").write_text(text, encoding="utf-8")
    plot(results, options.out / "scaling.png")
    print(text)
    return int(any("error" in point for points in results.values() for point in points))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="Cost as work grows.")
    parser.add_argument("--axes", default="", help="some of " + ", ".join(AXES))
    parser.add_argument("--largest", type=int, default=None, help="leave out larger sizes than this")
    parser.add_argument("--batch", type=int, default=16, help="windows of a step")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a step is repeated")
    parser.add_argument("--timeout", type=float, default=1_800.0, help="seconds after which a point is given up")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.axes = words(options.axes) or list(AXES)
    unknown = set(options.axes) - set(AXES)
    if unknown:
        parser.error(f"no axis is called {', '.join(sorted(unknown))}; there are: {', '.join(AXES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
