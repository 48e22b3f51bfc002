"""`make bench-accuracy`: each library's TFT at equal size, batch, steps, learning rate, split and scaling.

Every training is a file under ``results/accuracy/``; what is there is not done again, so that a run can be stopped and
continued. The published tasks of fev-bench are in :mod:`benchmarks.fev`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.libraries import LIBRARIES, ROOT, shared_data
from benchmarks.machine import commit
from benchmarks.process import ask
from benchmarks.sets import SETS, actuals, known_sets, make_real_task
from benchmarks.speed import RESULTS, words
from benchmarks.task import Task

SCORES = ("P50", "P90", "MAE", "coverage")


def score_forecasts(
    quantiles: NDArray[np.float64], actual: NDArray[np.float64], levels: Sequence[float]
) -> dict[str, float]:
    """Score forecasts [W, H, Q] of standardised targets [W, H] with the metrics of the package.

    P50 and P90 are the q-risks of the paper (equation 26), coverage is the share inside the 0.1 to 0.9 interval.
    Quantiles are sorted first, for every library.
    """
    from fusecast.evaluation.metrics import score

    if quantiles.shape != (*actual.shape, len(levels)):
        raise ValueError(f"forecasts have the shape {quantiles.shape}, the actuals {actual.shape}")
    (scores,) = score(np.sort(quantiles, axis=-1)[:, :, None], actual[..., None], levels)
    return {
        "P50": scores.quantile_risk[0.5],
        "P90": scores.quantile_risk[0.9],
        "MAE": scores.mae,
        "coverage": scores.coverage[0.8],
    }


def fingerprint(task: Task, library: str) -> str:
    """Say in few letters what a result depends on: one of another task or of another driver is not reused."""
    parts = [json.dumps({**task.__dict__, "folder": ""}, sort_keys=True, default=dict)]
    module = ROOT / Path(*LIBRARIES[library].module.split(".")).with_suffix(".py")
    parts.append(module.read_text(encoding="utf-8"))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]


def result_of(
    task: Task, name: str, library: str, steps: int, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train and score, or read what an earlier run has left."""
    path = options.out / f"{name}-{library}-{steps}-{seed}.json"
    mark = fingerprint(task, library)
    if path.exists():
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if earlier.get("fingerprint") == mark and "scores" in earlier:
            return earlier
    forecasts = Path(task.folder) / f"{library}.npy"
    answer = ask(
        LIBRARIES[library],
        "forecasts",
        Path(task.folder) / "task.json",
        threads=options.threads,
        steps=steps,
        seed=seed,
        forecasts=forecasts,
        timeout=options.timeout,
    )
    result = {
        "set": name,
        "library": library,
        "steps": steps,
        "seed": seed,
        "fingerprint": mark,
        "commit": commit(),
        **answer,
    }
    if "error" not in answer:
        result["scores"] = score_forecasts(np.load(forecasts), actuals(task), task.quantiles)
        forecasts.unlink()
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Write one line a set, number of steps and library: means over the seeds, and their standard deviations."""
    lines = ["| set | steps | library | seeds | " + " | ".join(SCORES) + " | training, s |"]
    lines.append("| --- | ---: | --- | ---: |" + " ---: |" * (len(SCORES) + 1))
    groups: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for result in results:
        if "scores" in result:
            groups.setdefault((result["set"], result["steps"], result["library"]), []).append(result)
    for (name, steps, library), group in groups.items():
        cells = [_spread([result["scores"][score] for result in group]) for score in SCORES]
        seconds = statistics.mean(result["values"]["training_s"] for result in group)
        lines.append(f"| {name} | {steps:,} | {library} | {len(group)} | " + " | ".join(cells) + f" | {seconds:,.0f} |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    mean = statistics.mean(values)
    return f"{mean:.3f}" if len(values) == 1 else f"{mean:.3f} ±{statistics.stdev(values):.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all that is asked for, print the table; 0 unless fusecast itself failed."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    results = []
    for steps in options.steps:
        for name in options.sets:
            source = options.source / f"{name}.parquet"
            if not source.exists():
                print(f"{name}: {source.name} is not in {options.source}", file=sys.stderr)
                continue
            task = make_real_task(name, options.source, options.out / "data" / name, head=options.head)
            for seed in range(options.seeds):
                for library in options.libraries:
                    result = result_of(task, name, library, steps, seed, options)
                    results.append(result)
                    what = result.get("error") or ", ".join(f"{k} {v:.3f}" for k, v in result["scores"].items())
                    print(f"{name}, {steps} steps, seed {seed}, {library}: {what}", file=sys.stderr, flush=True)
    text = markdown(results)
    (options.out / "accuracy.md").write_text(text, encoding="utf-8")
    print(text)
    failed = [result for result in results if "error" in result]
    for result in failed:
        print(f"no figure: {result['library']} on {result['set']}: {result['error']}")
    return int(any(result["library"] == "fusecast" for result in failed))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="Accuracy at equal budget.")
    parser.add_argument("--sets", default="", help="some of " + ", ".join(SETS))
    parser.add_argument("--libraries", default="", help="some of " + ", ".join(LIBRARIES))
    parser.add_argument("--steps", default="600,3000")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=7_200.0, help="seconds after which a training is given up")
    parser.add_argument("--head", type=int, default=None, help="rows of each series to keep, for tests")
    parser.add_argument("--source", type=Path, default=shared_data())
    parser.add_argument("--out", type=Path, default=RESULTS / "accuracy")
    options = parser.parse_args(arguments)
    options.sets = known_sets(words(options.sets))
    options.libraries = words(options.libraries) or list(LIBRARIES)
    options.steps = [int(word) for word in words(options.steps)]
    unknown = set(options.libraries) - set(LIBRARIES)
    if unknown:
        parser.error(f"no library is called {', '.join(sorted(unknown))}; there are: {', '.join(LIBRARIES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
