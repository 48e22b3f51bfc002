"""From answers to a table: medians, spreads, and how many times better fusecast is than the best peer."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.libraries import OURS


@dataclass(frozen=True)
class Row:
    """A measure on a workload, as the table shows it."""

    measure: str  # name of the driver's method
    workload: str
    value: str  # key of the driver's answer, or "peak_mb"
    title: str
    unit: str
    target: float | None = None  # the ratio that issue 4 asks for

    @property
    def higher_is_better(self) -> bool:
        """Rates grow, times and memory shrink."""
        return self.value == "windows_per_s"


ROWS = (
    Row("training", "w1", "windows_per_s", "training, full path, W1", "windows/s", 3),
    Row("training", "w2", "windows_per_s", "training, full path, W2", "windows/s", 2),
    Row("bare_step", "w1", "windows_per_s", "bare step, W1", "windows/s"),
    Row("bare_step", "w2", "windows_per_s", "bare step, W2", "windows/s"),
    Row("loading", "w1", "windows_per_s", "loader alone", "windows/s", 50),
    Row("predicting", "w1", "windows_per_s", "prediction at stride 1, W1", "windows/s", 8),
    Row("predicting", "w2", "windows_per_s", "prediction at stride 1, W2", "windows/s", 5),
    Row("importing", "w1", "seconds", "import", "s", 2),
    Row("first_step", "w1", "seconds", "process start to first step, W1", "s", 2),
    Row("building", "w1", "seconds", "building 50 x 6,000", "s"),
    Row("building", "5m", "seconds", "building 1,000 x 5,000", "s", 50),
    Row("building", "5m", "grown_mb", "memory to build 1,000 x 5,000", "MiB", 4),
    Row("training", "w1", "peak_mb", "peak RSS, training W1", "MiB"),
    Row("training", "w2", "peak_mb", "peak RSS, training W2", "MiB"),
    Row("building", "5m", "peak_mb", "peak RSS, building 1,000 x 5,000", "MiB"),
)


def values_of(answers: Iterable[Mapping[str, Any]], row: Row, library: str) -> list[float]:
    """All rounds' values of one cell."""
    found = []
    for answer in answers:
        if (answer["measure"], answer["workload"], answer["library"]) != (row.measure, row.workload, library):
            continue
        value = answer.get("peak_mb") if row.value == "peak_mb" else answer.get("values", {}).get(row.value)
        if value is not None:
            found.append(float(value))
    return found


def summarise(answers: Sequence[Mapping[str, Any]], libraries: Sequence[str]) -> list[dict[str, Any]]:
    """Give a row of medians, spreads (half the range, relative to the median) and ratios for each line of the table."""
    rows = []
    for row in ROWS:
        cells = {}
        for library in libraries:
            values = values_of(answers, row, library)
            if values:
                median = statistics.median(values)
                spread = (max(values) - min(values)) / 2 / median if median else 0.0
                cells[library] = {"median": median, "spread": spread, "rounds": len(values)}
        if not cells:
            continue
        peers = [cell["median"] for library, cell in cells.items() if library != OURS]
        ratio = best = None
        if OURS in cells and peers:
            ours, best = cells[OURS]["median"], max(peers) if row.higher_is_better else min(peers)
            better, worse = (ours, best) if row.higher_is_better else (best, ours)
            ratio = better / worse if worse else None
        rows.append({"title": row.title, "unit": row.unit, "target": row.target, "cells": cells, "ratio": ratio})
    return rows


def markdown(rows: Sequence[Mapping[str, Any]], libraries: Sequence[str]) -> str:
    """Write the table: medians and spreads, and ratios to the best peer, above 1 where we are better."""
    lines = [
        "| measure | unit | " + " | ".join(libraries) + " | ratio to best peer | target |",
        "| --- | --- |" + " ---: |" * (len(libraries) + 2),
    ]
    for row in rows:
        cells = [_cell(row["cells"].get(library)) for library in libraries]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        target = "" if row["target"] is None else f"{row['target']:g}"
        lines.append(f"| {row['title']} | {row['unit']} | " + " | ".join(cells) + f" | {ratio} | {target} |")
    return "\n".join(lines) + "\n"


def _cell(cell: Mapping[str, float] | None) -> str:
    if cell is None:
        return "-"
    median = cell["median"]
    text = f"{median:,.0f}" if median >= 100 else f"{median:.3g}"
    return text if cell["rounds"] == 1 else f"{text} ±{cell['spread']:.0%}"
