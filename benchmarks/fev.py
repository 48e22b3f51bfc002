"""`make bench-fev`: the tasks of fev-bench in ``shared/data/fev``, beside the published scores.

One plain fit a task on the rows before its first cutoff, and forecasts at every cutoff without fitting anew; the
scores are fev's own. Every result is a line of ``results/fev/<label>.jsonl``; what is there is not done again, so that
a run can be stopped and continued. `docs/accuracy.md` explains the tables.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.fev_table import markdown
from benchmarks.fev_tasks import (
    ID,
    PUBLISHED,
    SEPARATOR,
    TARGET,
    TIME,
    FevTask,
    Window,
    naive_forecasts,
    published_scores,
    quantile_columns,
    task_names,
)
from benchmarks.libraries import ROOT, Library, shared_data
from benchmarks.machine import commit
from benchmarks.process import answer_of
from benchmarks.speed import RESULTS, words

FEV = Library("fev", "benchmarks.peers.fev")
INTERVALS = {"0.6": (0.2, 0.8), "0.8": (0.1, 0.9)}  # the levels have no 0.25 and 0.75
SCORES = ("SQL", "MASE", "WAPE", "WQL")


def plain_options(task: FevTask) -> dict[str, Any]:
    """Options of a plain fit: what a user has to say.

    No rows are kept back as a test split, since the windows are the test.
    """
    return {
        "horizon": task.horizon,
        "table": task.roles,
        "network": {"quantiles": list(task.levels)},
        "split": {"test": 0},
        "training": {"logger": "none", "progress": False},
    }


def our_forecasts(
    task: FevTask, overrides: Mapping[str, Any], *, refit_every: int
) -> Iterator[tuple[Window, pl.DataFrame, dict[str, Any]]]:
    """Fit, and forecast every window: what is known and happened, the forecasts, and how long it took."""
    import torch

    from fusecast.config import RunConfig
    from fusecast.forecaster import Forecaster
    from fusecast.workflows import fit, predict  # noqa: F401  so that no import is timed

    forecaster = None
    for number in range(task.num_windows):
        window = task.window(number)
        took: dict[str, Any] = {"fits": 0, "fit_s": 0.0}
        if forecaster is None or (refit_every and number % refit_every == 0):
            began = time.monotonic()
            forecaster = Forecaster.from_config(RunConfig.parse(plain_options(task), overrides))
            forecaster.fit(window.past)
            assert forecaster.result is not None
            if forecaster.result.interrupted:
                raise KeyboardInterrupt  # what was half trained is no result
            took = {"fits": 1, "fit_s": time.monotonic() - began, "epochs": len(forecaster.result.history)}
            took |= {"stopped": forecaster.result.stopped_why, "lookback": forecaster.config.lookback}
            took |= {"threads": torch.get_num_threads()}
        began = time.monotonic()
        levels = None if forecaster.config.network.quantiles == task.levels else task.levels
        forecasts = forecaster.predict(window.future, data=window.past, quantiles=levels)
        yield window, forecasts, took | {"predict_s": time.monotonic() - began}


def run_task(
    task: FevTask, overrides: Mapping[str, Any], *, refit_every: int = 0, naive: bool = False
) -> dict[str, Any]:
    """Forecast all windows of a task and score them; ``state`` is ``scored``, ``refused`` or ``failed``."""
    from fusecast.errors import FusecastError

    columns = quantile_columns(task.levels)
    made: list[pl.DataFrame] = []
    found: dict[str, Any] = {}
    try:
        if naive:
            windows = (task.window(number) for number in range(task.num_windows))
            forecast = ((window, naive_forecasts(task, window), {"fit_s": 0.0}) for window in windows)
        else:
            forecast = our_forecasts(task, overrides, refit_every=refit_every)
        for number, (window, forecasts, took) in enumerate(forecast):
            for name, value in took.items():
                found[name] = found.get(name, 0) + value if name in {"fits", "fit_s", "predict_s"} else value
            table = forecasts.select(ID, TIME, "y_hat", *columns).join(window.actual, on=[ID, TIME], how="left")
            made.append(table.with_columns(window=pl.lit(number)))
        table = pl.concat(made)
        found["coverage"] = {share: _coverage(table, *levels) for share, levels in INTERVALS.items()}
        answer = ask_fev(task, table)
    except FusecastError as error:
        return {"state": "refused", "message": str(error), **found}
    except Exception as error:  # noqa: BLE001  one task does not stop the others
        return {"state": "failed", "message": f"{type(error).__name__}: {error}", **found}
    if "error" in answer:
        return {"state": "failed", "message": answer["error"], **found}
    expected = task.facts["published_num_forecasts"]
    if answer["num_forecasts"] != expected:
        message = f"{answer['num_forecasts']} forecasts were scored, the published number is {expected}"
        return {"state": "failed", "message": message, **found}
    return {"state": "scored", "scores": {name: answer[name] for name in SCORES}, "fev": answer["fev_version"], **found}


def _coverage(table: pl.DataFrame, low: float, high: float) -> float:
    inside = pl.col(TARGET).is_between(f"q{low:g}", f"q{high:g}")
    share = table.filter(pl.col(TARGET).is_not_null()).select(inside.mean()).item()
    assert isinstance(share, float)
    return share


def ask_fev(task: FevTask, forecasts: pl.DataFrame, timeout: float = 600.0) -> dict[str, Any]:
    """Score forecasts in fev's own environment: its answer, or ``error``."""
    targets = task.facts["columns"]["targets"]
    if len(targets) > 1:
        parts = pl.col(ID).str.splitn(SEPARATOR, 2).struct
        names = [parts.field("field_0").alias("series"), parts.field("field_1").alias("target")]
    else:
        names = [pl.col(ID).alias("series"), pl.lit(targets[0]).alias("target")]
    with tempfile.TemporaryDirectory(prefix="fusecast-fev-") as scratch:
        table = Path(scratch) / "forecasts.parquet"
        forecasts.with_columns(names).drop(ID, TARGET).write_parquet(table)
        question = {"facts": task.folder / f"{task.name}.json", "table": task.table, "forecasts": table}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": scratch, "HF_HUB_OFFLINE": "1"}
        return answer_of(FEV, question, Path(scratch), environment, timeout)


def check_fev() -> str | None:
    """Say what is missing of fev's environment, before anything is trained."""
    if not FEV.python.exists():
        return f"{FEV.python} is missing; `make bench-fev` makes it"
    tried = subprocess.run([str(FEV.python), "-c", "import fev"], capture_output=True, text=True, check=False)
    return f"fev cannot be imported by {FEV.python}: {tried.stderr.strip()[-200:]}" if tried.returncode else None


def code_version() -> str:
    """Say in few letters which code a result depends on: that of another one is not reused."""
    files = [path for kind in ("py", "c", "h") for path in (ROOT / "src" / "fusecast").rglob(f"*.{kind}")]
    files += [ROOT / "benchmarks" / name for name in ("fev.py", "fev_tasks.py", "peers/fev.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def key_of(row: Mapping[str, Any]) -> str:
    """What tells the results of a task apart."""
    names = ("task", "label", "seed", "refit_every", "options", "code")
    return json.dumps([row[name] for name in names], sort_keys=True)


def kept_rows(folder: Path) -> list[dict[str, Any]]:
    """Results that earlier runs have left, the last of each key; a line cut short by a kill is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[key_of(row)] = row
    return list(rows.values())


def keep(folder: Path, row: Mapping[str, Any]) -> None:
    """Append a result to its label's file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{row['label']}.jsonl"
    cut_short = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut_short + json.dumps(row) + "\n")


def run(options: argparse.Namespace, code: str) -> int:
    """Do what is not kept yet; the number of tasks that failed."""
    failed = 0
    done = {key_of(row) for row in kept_rows(options.out) if row["state"] != "failed"}
    for seed in options.seeds:
        for name in options.tasks:
            task = FevTask.read(name, options.source)
            for refit_every in sorted({0, options.refit_every}):
                if refit_every >= task.num_windows:
                    continue  # the same as one fit
                row = {"task": name, "label": options.label, "seed": seed, "refit_every": refit_every}
                row |= {"options": options.overrides, "code": code}
                if key_of(row) in done:
                    continue
                overrides = {**options.overrides}
                overrides["training"] = {**overrides.get("training", {}), "seed": seed}
                row |= {"commit": commit(), "began": dt.datetime.now().astimezone().isoformat(timespec="seconds")}
                row |= run_task(task, overrides, refit_every=refit_every, naive=options.naive)
                keep(options.out, row)
                failed += row["state"] == "failed"
                print(f"{name}, seed {seed}: {_said(row)}", file=sys.stderr, flush=True)
    return failed


def _said(row: Mapping[str, Any]) -> str:
    if row["state"] != "scored":
        return f"{row['state']}: {row['message'].splitlines()[0]}"
    scores = ", ".join(f"{name} {value:.4f}" for name, value in row["scores"].items())
    coverage = ", ".join(f"{value:.0%} in {float(share):.0%}" for share, value in row["coverage"].items())
    refitted = f", refitted every {row['refit_every']}" if row["refit_every"] else ""
    return f"{scores}, {coverage}, {row['fit_s']:.0f} s{refitted}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and score all that is asked for, print the tables; 0 unless a task failed or a check found a difference."""
    options = parse(arguments)
    wrong, code = 0, code_version()
    if not options.report:
        if missing := check_fev():
            sys.exit(missing)
        wrong = run(options, code)
    rows = [row for row in kept_rows(options.out) if row["task"] in options.tasks]
    if options.label:
        rows = [row for row in rows if row["label"] == options.label]
    if not options.report:
        rows = [row for row in rows if row["code"] == code and row["options"] == options.overrides]
    text = markdown(rows, published_scores(options.source)) or f"Nothing is kept in {options.out}.\n"
    if options.naive:
        differences = [difference for row in rows for difference in differences_from_published(row, options.source)]
        text += "\n".join(differences) or "The scores are the published ones: windows and metrics are right."
        wrong += len(differences)
    print(text)
    return int(wrong > 0)


def differences_from_published(row: Mapping[str, Any], source: Path) -> list[str]:
    """Name the scores of the seasonal naive that differ from the published ones in four digits."""
    published = FevTask.read(row["task"], source).facts["check"]
    scores = row.get("scores") or dict.fromkeys(SCORES, float("nan"))
    return [
        f"{row['task']}: {name} {scores[name]:.4f}, published {published[name]['published']:.4f}"
        for name in SCORES
        if not abs(scores[name] - published[name]["published"]) <= 5e-5
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    from fusecast.cli.options import parse_assignments

    parser = argparse.ArgumentParser(prog="python -m benchmarks.fev", description="The tasks of fev-bench.")
    parser.add_argument("--tasks", default="", help="names of tasks, separated by commas [all]")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--label", help="name of what is tried [defaults; with --report: all]")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="for an ablation")
    parser.add_argument("--minutes", type=float, default=None, help="of each training, at most")
    parser.add_argument("--refit-every", type=int, default=0, metavar="K", help="windows; as a second column")
    parser.add_argument("--naive", action="store_true", help="check the seasonal naive against the published one")
    parser.add_argument("--report", action="store_true", help="print what is kept, and do nothing")
    parser.add_argument("--source", type=Path, default=shared_data() / "fev")
    parser.add_argument("--out", type=Path, default=RESULTS / "fev")
    options = parser.parse_args(arguments)
    if not (options.source / PUBLISHED).exists():
        parser.error(f"the tasks are not in {options.source}; set FUSECAST_DATA")
    there = task_names(options.source)
    options.tasks = words(options.tasks) or there
    if unknown := set(options.tasks) - set(there):
        parser.error(f"no task is called {', '.join(sorted(unknown))}; there are: {', '.join(there)}")
    options.seeds = [int(word) for word in words(options.seeds)]
    options.overrides = parse_assignments(options.set)
    if options.minutes is not None:
        options.overrides.setdefault("training", {})["max_minutes"] = options.minutes
    if options.naive:
        options.label = "seasonal-naive"
    elif not options.report:
        options.label = options.label or "defaults"
    if options.label and not re.fullmatch(r"[\w.+-]+", options.label):
        parser.error(f"a label is letters, digits and . _ + -, not {options.label!r}")
    return options


if __name__ == "__main__":
    sys.exit(main())
