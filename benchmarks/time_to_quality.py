"""`make bench-quality`: seconds until fusecast has the validation loss that each peer's TFT reaches.

Every library trains for the same number of steps, at equal size, batch and split. After every so many steps the weights
are kept; the forecasts of a common set of validation windows by each of them are scored here. The times are those of
training alone. Every training is a file under ``results/quality/``; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import fingerprint
from benchmarks.libraries import LIBRARIES, OURS, shared_data
from benchmarks.machine import machine
from benchmarks.process import ask
from benchmarks.sets import SETS, actuals, known_sets, make_real_task
from benchmarks.speed import RESULTS, words
from benchmarks.task import Task

PEERS = ("darts", "pytorch-forecasting")
DEFAULTS = f"{OURS}, defaults"
TRAININGS = {**{name: name for name in (*PEERS, OURS)}, DEFAULTS: OURS}
"""Name of each training -> the library that trains."""
USUAL_SETS = "epf_nordpool,etth1,m4_hourly,vic_electricity"
TIMES = {"cpu_s": "seconds of processor time", "wall_s": "seconds"}


def quantile_losses(
    forecasts: NDArray[np.float64], actual: NDArray[np.float64], levels: Sequence[float]
) -> list[float]:
    """Give the mean quantile loss of each of several forecasts [C, W, H, Q] of standardised targets [W, H].

    Quantiles are sorted first, for every library.
    """
    if forecasts.shape[1:] != (*actual.shape, len(levels)):
        raise ValueError(f"forecasts have the shape {forecasts.shape}, the actuals {actual.shape}")
    error = actual[..., None] - np.sort(forecasts, axis=-1)
    weights = np.asarray(levels)
    losses: list[float] = np.maximum(weights * error, (weights - 1) * error).mean(axis=(1, 2, 3)).tolist()
    return losses


def result_of(task: Task, name: str, training: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score, or read what an earlier run has left."""
    library = TRAININGS[training]
    steps, every, seed = options.steps, options.every, options.seed
    path = options.out / f"{name}-{training.replace(', ', '-')}-{steps}-{every}-{seed}.json"
    mark = fingerprint(task, library)
    if path.exists():
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if earlier.get("fingerprint") == mark and "losses" in earlier:
            return earlier
    forecasts = Path(task.folder) / "forecasts.npy"
    before = machine()
    answer = ask(
        LIBRARIES[library],
        "quality",
        Path(task.folder) / "task.json",
        threads=options.threads,
        steps=steps,
        every=every,
        seed=seed,
        defaults=training == DEFAULTS,
        forecasts=forecasts,
        timeout=options.timeout,
    )
    result = {
        "set": name,
        "training": training,
        "steps": steps,
        "every": every,
        "seed": seed,
        "threads": options.threads,
        "fingerprint": mark,
        "machine": before,
        **answer,
    }
    if "error" not in answer:
        result["losses"] = quantile_losses(np.load(forecasts), actuals(task), task.quantiles)
        forecasts.unlink()
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def time_to(result: Mapping[str, Any], loss: float, unit: str) -> float | None:
    """Give the training time after which a loss was first reached; None where it never was."""
    times = result["values"][unit]
    return next((time for time, own in zip(times, result["losses"], strict=True) if own <= loss), None)


def aims(peer: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Give the losses of a peer that ours is to reach: the last one and, where another is lower, the lowest."""
    losses, steps = peer["losses"], [int(step) for step in peer["values"]["steps"]]
    best = int(np.argmin(losses))
    found = [("last", steps[-1], losses[-1])]
    return found if best == len(losses) - 1 else [*found, ("best", steps[best], losses[best])]


def summarise(results: Sequence[Mapping[str, Any]], unit: str) -> list[dict[str, Any]]:
    """Give a row for each aim: when the peer had it, when the first of the peers, when ours; times in one unit."""
    done: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in results:
        if "losses" in result:
            done.setdefault(result["set"], {})[result["training"]] = result
    rows = []
    for name, trainings in done.items():
        peers = {peer: trainings[peer] for peer in PEERS if peer in trainings}
        for peer, own in peers.items():
            for which, step, loss in aims(own):
                at = own["values"]["steps"].index(step)
                first = min(time for each in peers.values() if (time := time_to(each, loss, unit)) is not None)
                ours = {ours: time_to(trainings[ours], loss, unit) for ours in (OURS, DEFAULTS) if ours in trainings}
                row = {"set": name, "peer": peer, "which": which, "step": step, "loss": loss}
                rows.append(row | {"peer_s": own["values"][unit][at], "first_s": first, "ours": ours})
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the rows as a table; a ratio is the time of the first peer divided by ours."""
    lines = ["| set | loss of | step | loss | its s | first peer's s |"]
    lines[0] += "".join(f" {ours}, s | ratio |" for ours in (OURS, DEFAULTS))
    lines.append("| --- | --- |" + " ---: |" * 8)
    for row in rows:
        cells = [row["set"], f"{row['peer']}, {row['which']}", f"{row['step']:,}", f"{row['loss']:.4f}"]
        cells += [f"{row['peer_s']:,.0f}", f"{row['first_s']:,.0f}"]
        for name in (OURS, DEFAULTS):
            if name not in row["ours"]:
                cells += ["", ""]
                continue
            ours = row["ours"][name]
            cells += ["never", ""] if ours is None else [f"{ours:,.1f}", f"{row['first_s'] / ours:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def report(results: Sequence[Mapping[str, Any]]) -> str:
    """Write the tables of both units, and what each training reached."""
    parts = [f"In {title}:\n\n{markdown(summarise(results, unit))}" for unit, title in TIMES.items()]
    lines = ["| set | training | step | lowest loss | last loss | processor s | s |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for result in results:
        if "losses" in result:
            values, losses = result["values"], result["losses"]
            cells = [result["set"], result["training"], f"{values['steps'][-1]:,.0f}"]
            cells += [f"{min(losses):.4f}", f"{losses[-1]:.4f}"]
            cells += [f"{values['cpu_s'][-1]:,.0f}", f"{values['wall_s'][-1]:,.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*parts, "Each training:\n", *lines]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all that is asked for, print the tables; 0 unless fusecast itself failed."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    results = []
    for number, name in enumerate(options.sets):
        if not (options.source / f"{name}.parquet").exists():
            print(f"{name}: {name}.parquet is not in {options.source}", file=sys.stderr)
            continue
        task = make_real_task(
            name,
            options.source,
            options.out / "data" / name,
            head=options.head,
            part="validation",
            at_most=options.windows,
        )
        for training in options.trainings[:: -1 if number % 2 else 1]:  # so that no library is always first
            result = result_of(task, name, training, options)
            results.append(result)
            what = result.get("error") or f"lowest loss {min(result['losses']):.4f}, last {result['losses'][-1]:.4f}"
            print(f"{name}, {training}: {what}, {result['wall_s']:.0f} s in all", file=sys.stderr, flush=True)
        (options.out / "quality.md").write_text(report(results), encoding="utf-8")
    print(report(results))
    failed = [result for result in results if "error" in result]
    for result in failed:
        print(f"no figure: {result['training']} on {result['set']}: {result['error']}")
    return int(any(TRAININGS[result["training"]] == OURS for result in failed))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_quality", description="Time to quality.")
    parser.add_argument("--sets", default=USUAL_SETS, help="some of " + ", ".join(SETS))
    parser.add_argument("--libraries", default="", help="some of " + ", ".join((*PEERS, OURS)))
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--every", type=int, default=100, help="steps between two validations; a divisor of --steps")
    parser.add_argument("--windows", type=int, default=512, help="validation windows at most, of a series one at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=10_800.0, help="seconds after which a training is given up")
    parser.add_argument("--head", type=int, default=None, help="rows of each series to keep, for tests")
    parser.add_argument("--source", type=Path, default=shared_data())
    parser.add_argument("--out", type=Path, default=RESULTS / "quality")
    options = parser.parse_args(arguments)
    options.sets = known_sets(words(options.sets))
    libraries = words(options.libraries) or [*PEERS, OURS]
    unknown = set(libraries) - {*PEERS, OURS}
    if unknown:
        parser.error(f"no library is called {', '.join(sorted(unknown))}; there are: {', '.join((*PEERS, OURS))}")
    if options.every < 1 or options.steps < 1 or options.steps % options.every:
        parser.error(f"--every {options.every} must be a divisor of --steps {options.steps}")
    options.trainings = [training for training, library in TRAININGS.items() if library in libraries]
    return options


if __name__ == "__main__":
    sys.exit(main())
