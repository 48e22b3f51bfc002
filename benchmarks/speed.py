"""`make bench`: fusecast and its peers, measured alternately in one run."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.libraries import LIBRARIES, OURS, ROOT
from benchmarks.machine import machine
from benchmarks.process import ask
from benchmarks.summary import ROWS, markdown, summarise
from benchmarks.workloads import make_task, make_workload

RESULTS = ROOT / "benchmarks" / "results"
LARGE = (1_000, 5_000)  # series and rows of the table that is only built


def cells(only: Sequence[str]) -> list[tuple[str, str]]:
    """Give the (workload, measure) pairs of the table that the words allow; each word names a workload or a measure."""
    pairs = list(dict.fromkeys((row.workload, row.measure) for row in ROWS))
    workloads = {workload for workload, _ in pairs} & set(only)
    measures = {measure for _, measure in pairs} & set(only)
    unknown = set(only) - workloads - measures
    if unknown:
        known = sorted({word for pair in pairs for word in pair})
        sys.exit(f"no workload or measure is called {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [
        (workload, measure)
        for workload, measure in pairs
        if (not workloads or workload in workloads) and (not measures or measure in measures)
    ]


def tasks(folder: Path, wanted: set[str], *, tiny: bool) -> dict[str, Path]:
    """Write the workloads that are asked for, and give the path of each task."""
    paths = {}
    for name in sorted(wanted):
        if name in ("w1", "w2"):
            task = make_workload(name, folder, tiny=tiny)
        else:
            task = make_task(folder / "large", *((6, 150) if tiny else LARGE))
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        if not (home / task.table.name).exists():
            (home / task.table.name).symlink_to(task.table.resolve())
        paths[name] = replace(task, folder=str(home)).write()
    return paths


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Ask every library for every cell, one library right after the other, round after round."""
    pairs = cells(options.only)
    paths = tasks(options.data, {workload for workload, _ in pairs}, tiny=options.tiny)
    for number in range(options.rounds):
        for place, (workload, name) in enumerate(pairs):
            start = (number + place) % len(options.libraries)  # nobody is always first, or always after the slowest
            for library in (*options.libraries[start:], *options.libraries[:start]):
                answer = ask(
                    LIBRARIES[library],
                    name,
                    paths[workload],
                    threads=options.threads,
                    seconds=options.seconds,
                    windows=options.windows,
                    timeout=options.timeout,
                )
                yield {"round": number, "workload": workload, "measure": name, "library": library, **answer}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print one table, and write JSON beside it; 0 unless fusecast itself failed."""
    options = parse(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    started = dt.datetime.now(tz=dt.UTC)
    record: dict[str, Any] = {
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
        "options": {key: str(value) for key, value in vars(options).items()},
        "answers": [],
    }
    path = options.out / f"speed-{started:%Y%m%d-%H%M%S}.json"
    for answer in measure(options):
        record["answers"].append(answer)
        print(_line(answer), file=sys.stderr, flush=True)
        record["table"] = summarise(record["answers"], options.libraries)
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = markdown(record.get("table", []), options.libraries)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    failed = [answer for answer in record["answers"] if "error" in answer]
    for answer in failed:
        print(f"no figure: {_line(answer)}")
    print(f"written: {path} and {path.with_suffix('.md').name}")
    return int(any(answer["library"] == OURS for answer in failed))


def _line(answer: dict[str, Any]) -> str:
    where = f"{answer['library']}, {answer['measure']}, {answer['workload']}, round {answer['round'] + 1}"
    if "error" in answer:
        return f"{where}: {answer['error']}"
    return f"{where}: " + ", ".join(f"{name} {value:,.4g}" for name, value in answer["values"].items())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; an empty word stands for the default, so that make can pass variables on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="workloads (w1, w2, 5m) and measures (training, ...), by commas")
    parser.add_argument("--libraries", default="", help="some of " + ", ".join(LIBRARIES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each rate is measured")
    parser.add_argument("--windows", type=int, default=3_200, help="windows to predict")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds after which a measurement is given up")
    parser.add_argument("--tiny", action="store_true", help="a size at which figures mean nothing, for tests")
    parser.add_argument("--data", type=Path, default=RESULTS / "data", help="where tables are written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.only = words(options.only)
    options.libraries = words(options.libraries) or list(LIBRARIES)
    unknown = set(options.libraries) - set(LIBRARIES)
    if unknown:
        parser.error(f"no library is called {', '.join(sorted(unknown))}; there are: {', '.join(LIBRARIES)}")
    return options


def words(text: str) -> list[str]:
    """Split at commas and spaces."""
    return text.replace(",", " ").split()


if __name__ == "__main__":
    sys.exit(main())
