"""Damage every file that fusecast reads, and feed it hostile tables: the right answer, or a refusal in words.

Hostile tables are files with odd bytes, cells, names and types, on the command line; tables as people have them are
drawn by :mod:`tests.reliability.fuzz_tables`.

python -m tests.reliability.fuzz [--mutations 300] [--tables 200] [--seed 0] [--only run.yaml,tables] [--jobs 2]

Each case is a process of its own, forked from this one, in which the real command line or class runs with the
damaged file. Byte mutations must end with the result of the undamaged file, or be refused. Structural mutations (wrong
types, huge numbers, deep nesting) have their checksums made anew, so that the checks behind these are reached; what is
accepted then is a valid file that states something else, and no error. A refusal is exit code 2 and a message. Anything
else is a fault, and makes the exit code of this program 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tests.reliability import mutations, tables

import fusecast.forecaster
import fusecast.training.fit
import fusecast.workflows.backtest
import fusecast.workflows.fit
import fusecast.workflows.load
import fusecast.workflows.predict
import fusecast.workflows.report
from fusecast.cli.app import main as run_command
from fusecast.errors import FusecastError

SECONDS = 60  # of processor time that a case may take; none takes five
WAIT_SECONDS = 300  # that it may take in all, however busy the machine is
MEMORY = 4 * 2**30  # that a case may take beside what this process has
SAME, REFUSED, OTHER = "same result", "refused", "other content"
SILENT, TRACEBACK, HANG = "SILENT DIFFERENCE", "TRACEBACK", "HANG"
FAULTS = (SILENT, TRACEBACK, HANG)
COLUMNS = (SAME, REFUSED, OTHER, *FAULTS)
SIZES = [
    *("--horizon", "4", "--lookback", "12", "--hidden-size", "8", "--num-heads", "2", "--known", "holiday"),
    *("--observed", "weather,temp", "--batch-size", "16", "--max-epochs", "2", "--accelerator", "cpu"),
    *("--members", "1", "--final", "none", "--blend", "validation"),
    *("--set", "training.logger=none", "--set", "training.progress=false", "--set", "training.checkpoint_steps=3"),
]


@dataclass(frozen=True)
class Case:
    """One damaged file, and what is done with it."""

    kind: str
    action: str
    path: str  # of the damaged file, in the folder of the case
    damage: mutations.Damage


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    verdict: str
    digest: str
    text: str  # what was written to stderr


def command(*words: object) -> None:
    """Run a command line as a terminal would."""
    sys.argv = ["fusecast", *map(str, words)]
    try:
        run_command()
    except SystemExit as end:
        if end.code:
            raise


def predict(folder: Path) -> bytes:
    """Forecast with the run in a folder."""
    command("predict", folder / "run", "--future", folder / "future.csv", "--out", folder / "out.csv")
    return (folder / "out.csv").read_bytes()


def resume(folder: Path) -> bytes:
    """Train on from the checkpoint of a run that was killed."""
    command("fit", "--resume", "--out", folder / "killed")
    return (folder / "killed" / "model.safetensors").read_bytes()


def load(folder: Path) -> bytes:
    """Load the module in a checkpoint."""
    from fusecast.training.lightning_module import TFTModule

    module = TFTModule.load_from_checkpoint(folder / "killed" / "checkpoints" / "last.ckpt")
    return b"".join(name.encode() + value.numpy().tobytes() for name, value in module.state_dict().items())


def backtest(folder: Path) -> bytes:
    """Go on with a backtest that was killed."""
    command("backtest", folder / "run", "--stride", "4", "--out", folder / "found.parquet", "--baselines", "last")
    return (folder / "found.parquet").read_bytes()


def read_history(folder: Path) -> bytes:
    """Read the history of a training, as a report does."""
    from fusecast.workflows.report import read_history, training_curves

    return repr(training_curves(read_history(folder / "run"))).encode()


ACTIONS: dict[str, Callable[[Path], bytes]] = {
    function.__name__: function for function in (predict, resume, load, backtest, read_history)
}
KINDS = {  # kind of file: (what is done with it, where it is)
    "run.yaml": ("resume", "killed/run.yaml"),
    "config.json": ("predict", "run/config.json"),
    "preprocessor.json": ("predict", "run/preprocessor.json"),
    "model.safetensors": ("predict", "run/model.safetensors"),
    "arrays.safetensors": ("predict", "run/arrays.safetensors"),
    "last.ckpt, resumed": ("resume", "killed/checkpoints/last.ckpt"),
    "last.ckpt, loaded": ("load", "killed/checkpoints/last.ckpt"),
    "backtest parts": ("backtest", "found.parquet.parts/part-*.parquet"),
    "backtest manifest": ("backtest", "found.parquet.parts/manifest.json"),
    "history.csv": ("read_history", "run/history.csv"),
}


def make_runs(folder: Path) -> None:
    """Write a table, a calibrated run, a run that was killed after its sixth step, and a backtest that was."""
    tables.write_plain_table(folder / "table.csv", folder / "future.csv")
    command("fit", folder / "table.csv", *SIZES, "--max-steps", "6", "--out", folder / "run")
    command("calibrate", folder / "run")
    command("fit", folder / "table.csv", *SIZES, "--max-steps", "6", "--out", folder / "killed")
    for name in ("config.json", "preprocessor.json", "model.safetensors"):
        (folder / "killed" / name).unlink()
    run = folder / "killed" / "run.yaml"
    options = fusecast.RunConfig.read(run)
    options.model_copy(update={"training": options.training.model_copy(update={"max_steps": 8})}).write(run)

    def stop(done: int, total: int) -> None:
        if done >= total // 2:
            raise InterruptedError

    forecaster = fusecast.Forecaster.load(folder / "run")
    options = {"stride": 4, "out": folder / "found.parquet", "baselines": ["last"]}
    try:
        fusecast.workflows.backtest.backtest(forecaster.prepared, forecaster._bundle, **options, on_progress=stop)
    except InterruptedError:
        return
    raise AssertionError("the backtest was not interrupted")


def in_child(work: Callable[[], bytes | None], log: Path, limit: bool = True) -> int:
    """Do the work in a forked process whose stdout and stderr go to a file; its result's hash goes beside it."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        torch.set_num_threads(1)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        if limit:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        result = work()
        log.with_suffix(".digest").write_text(hashlib.sha256(result or b"").hexdigest())
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 3
    except FusecastError as error:
        print(f"Error: {error}", file=sys.stderr)
        code = 2
    except BaseException:  # noqa: BLE001  what this program looks for
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_for(child: int, began: float) -> int | None:
    """Return the exit code of a child that has ended, None while it runs, -1 where it was killed as too slow."""
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        code = os.waitstatus_to_exitcode(status)
        return -1 if code in (-signal.SIGXCPU, -signal.SIGKILL) else code  # of processor time
    if time.monotonic() - began > WAIT_SECONDS:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return -1
    return None


def run_all(works: Sequence[Callable[[], bytes | None]], folder: Path, jobs: int) -> Iterator[tuple[int, int, Path]]:
    """Yield the number, the exit code and the log of each work, as they end."""
    running: dict[int, tuple[int, float]] = {}
    waiting = list(enumerate(works))
    while waiting or running:
        while waiting and len(running) < jobs:
            number, work = waiting.pop(0)
            running[in_child(work, folder / f"{number}.log")] = (number, time.monotonic())
        for child, (number, began) in list(running.items()):
            code = wait_for(child, began)
            if code is not None:
                del running[child]
                yield number, code, folder / f"{number}.log"
        time.sleep(0.002)


def judge(code: int, log: Path, expected: str | None, exact: bool) -> Outcome:
    """Return how a case ended; `expected` is the hash of the result with the undamaged file."""
    text = log.read_text(errors="replace")
    digest_file = log.with_suffix(".digest")
    digest = digest_file.read_text() if digest_file.exists() else ""
    if code == -1:
        return Outcome(HANG, digest, text)
    if code == 2 and "Traceback" not in text and ("Error" in text or "Usage" in text):
        return Outcome(REFUSED, digest, text)
    if code != 0 or "Traceback" in text:
        return Outcome(TRACEBACK, digest, f"exit code {code}\n{text}")
    if expected is None or digest == expected:
        return Outcome(SAME, digest, text)
    return Outcome(SILENT if exact else OTHER, digest, text)


def work_of(case: Case, pristine: Path, folder: Path) -> Callable[[], bytes]:
    """Return the work of a case: copy the folder, damage the file, do what is done with such a file."""

    def work() -> bytes:
        shutil.rmtree(folder, ignore_errors=True)  # of a case that was killed
        shutil.copytree(pristine, folder)
        try:
            case.damage.apply(min(folder.glob(case.path)))
            return ACTIONS[case.action](folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return work


def fuzz_files(
    kinds: Sequence[str], count: int, seed: int, jobs: int, scratch: Path
) -> Iterator[tuple[str, str, Outcome]]:
    """Yield kind, damage and outcome of `count` mutations of each kind of file."""
    pristine = scratch / "pristine"
    pristine.mkdir()
    setup = list(run_all([lambda: make_runs(pristine)], scratch, 1))
    if setup[0][1] != 0:
        sys.exit(f"the runs to damage could not be made:\n{setup[0][2].read_text()}")
    nothing = mutations.Damage("nothing", True, lambda path: None)
    expected: dict[str, str] = {}
    actions = sorted({KINDS[kind][0] for kind in kinds})
    cases = [
        Case("undamaged", action, next(p for a, p in KINDS.values() if a == action), nothing) for action in actions
    ]
    works = [work_of(case, pristine, scratch / "work" / str(i)) for i, case in enumerate(cases)]
    (scratch / "work").mkdir()
    for number, code, log in run_all(works, scratch, jobs):
        if code != 0:
            sys.exit(f"{actions[number]} fails with undamaged files:\n{log.read_text()}")
        expected[actions[number]] = log.with_suffix(".digest").read_text()
    for kind in kinds:
        action, where = KINDS[kind]
        rng = random.Random(f"{seed} {kind}")
        file = min(pristine.glob(where))
        cases = [Case(kind, action, where, damage) for damage in mutations.damages(file, count, rng)]
        works = [work_of(case, pristine, scratch / "work" / str(i)) for i, case in enumerate(cases)]
        for number, code, log in run_all(works, scratch, jobs):
            damage = cases[number].damage
            yield kind, damage.text, judge(code, log, expected[action], damage.exact and kind != "history.csv")
            log.with_suffix(".digest").unlink(missing_ok=True)
            log.unlink()


def fuzz_tables(count: int, seed: int, jobs: int, scratch: Path) -> Iterator[tuple[str, str, Outcome]]:
    """Yield command, table and outcome of `inspect`, `fit` and `predict` with `count` hostile tables."""
    pristine, folder = scratch / "pristine", scratch / "tables"
    folder.mkdir()
    hostile = tables.hostile_tables(count, random.Random(f"{seed} tables"))
    names = [table.name for table in hostile for _ in range(3)]

    def work_with(number: int) -> Callable[[], bytes]:
        table, verb = hostile[number // 3], number % 3

        def work() -> bytes:
            own = folder / str(number)
            own.mkdir(exist_ok=True)
            try:
                path = table.write(own)
                if verb == 0:
                    command("inspect", path)
                elif verb == 1:
                    command("fit", path, *table.options, *tables.TINY, "--out", own / "run")
                else:
                    command(
                        "predict",
                        pristine / "run",
                        "--data",
                        path,
                        "--future",
                        pristine / "future.csv",
                        "--out",
                        own / "out.csv",
                    )
                    tables.require_finite(own / "out.csv")
                return b""
            finally:
                shutil.rmtree(own, ignore_errors=True)

        return work

    for number, code, log in run_all([work_with(i) for i in range(len(names))], scratch, jobs):
        verb = ("inspect", "fit", "predict")[number % 3]
        outcome = judge(code, log, None, exact=True)
        if code == tables.NOT_FINITE:
            outcome = Outcome(SILENT, "", "forecasts are not finite")
        yield f"{verb} TABLE", names[number], outcome
        log.with_suffix(".digest").unlink(missing_ok=True)
        log.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all cases, print the counts, and return the exit code."""
    parser = argparse.ArgumentParser(description="Damage every file that fusecast reads.")
    parser.add_argument("--mutations", type=int, default=300, help="of each kind of file")
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"some of {', '.join([*KINDS, 'tables'])}, separated by semicolons")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", type=int, default=20, help="faults that are printed in full")
    options = parser.parse_args(arguments)
    only = [name.strip() for name in options.only.split(";") if name.strip()]
    kinds = [kind for kind in KINDS if not only or kind in only]
    counts: dict[str, Counter[str]] = {}
    shown = 0
    began = time.monotonic()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fusecast-fuzz-") as name:
        scratch = Path(name)
        outcomes = [fuzz_files(kinds, options.mutations, options.seed, options.jobs, scratch)]
        if not only or "tables" in only:
            outcomes.append(fuzz_tables(options.tables, options.seed, options.jobs, scratch))
        for each in outcomes:
            for kind, damage, outcome in each:
                counts.setdefault(kind, Counter())[outcome.verdict] += 1
                if outcome.verdict in FAULTS and shown < options.show:
                    shown += 1
                    print(f"--- {outcome.verdict} of {kind}: {damage}\n{outcome.text[-1500:]}", flush=True)
    widths = [max(map(len, ("", *counts))), *map(len, COLUMNS)]
    for row in (("", *COLUMNS), *((kind, *(str(count[name]) for name in COLUMNS)) for kind, count in counts.items())):
        print(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    faults = sum(count[name] for count in counts.values() for name in FAULTS)
    total = sum(count.total() for count in counts.values())
    print(f"{total} cases, {faults} faults, seed {options.seed}, {time.monotonic() - began:.0f} s")
    return 1 if faults or not total else 0


if __name__ == "__main__":
    sys.exit(main())
