"""Trainings killed at random moments and at every rename, then resumed, and compared with one that nothing disturbs.

python tests/reliability/soak.py [--kills N] [--renames N] [--seed N]

Of each layout (``fusecast fit``, and the script) one training is left alone. Others are killed (SIGKILL) at random
moments from their first second on, until there were N kills, and one is killed before and one after each rename of a
file (or the first N). Each is resumed until it ends. It has to end with the weights, optimizer, history and best
checkpoint of the undisturbed one, bit for bit; it may be refused in words only while there is no checkpoint, and then
has to start anew. Where one does not, what it printed follows, and the exit code is 1.

This process has loaded all libraries and starts no threads: it never trains, and calls nothing of polars. Forking it is
therefore safe.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import fusecast.forecaster  # noqa: E402
import fusecast.training.fit  # noqa: E402, F401  loaded once, for all trainings
from fusecast.cli.app import main as fusecast_main  # noqa: E402
from fusecast.compat.lightning_scripts.train import main as script_main  # noqa: E402
from fusecast.training.checkpoints import load_checkpoint, newest_checkpoint  # noqa: E402

ROWS, EPOCHS = 200, 3
TIMES = {"seconds", "windows_per_second"}
COLUMNS = ("trainings", "kills", "refused", "exact", "different", "lost", "traceback", "dead end", "left-over files")
FAULTS = ("different", "lost", "traceback", "dead end")


def train_by_command(folder: Path, resume: bool) -> None:
    options = [
        *("--horizon", "2", "--lookback", "4", "--hidden-size", "4", "--num-heads", "1", "--batch-size", "4"),
        *("--max-epochs", str(EPOCHS), "--learning-rate", "0.05", "--set", "training.windows_per_epoch=12"),
        *("--members", "1", "--set", "training.checkpoint_steps=2", "--set", "training.logger=none"),
    ]
    words = ["--resume"] if resume else [str(folder.parent / "table.csv"), *options]
    sys.argv = ["fusecast", "fit", "--out", str(folder), *words]
    fusecast_main()


def train_by_script(folder: Path, resume: bool) -> None:
    settings: dict[str, Any] = {
        "hidden_size": 4, "num_heads": 1, "num_epochs": EPOCHS, "batch_size": 48, "window_size": 4,
        "learning_rate": 0.05, "checkpoint_steps": 2, "logger": "none", "accelerator": "cpu",
        "data_path": folder.parent / "table.csv", "checkpoint_dir": folder,
    }  # fmt: skip
    if resume:
        settings["ckpt_path"] = "last"
    script_main(["--config", *(f"{name}={value}" for name, value in settings.items())])


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way to train, and its files."""

    name: str
    train: Callable[[Path, bool], None]
    checkpoints: str
    history: str
    others: tuple[str, ...] = ()

    def result(self, folder: Path, best: str) -> dict[str, Any]:
        """Return what has to be equal: the tensors of two checkpoints, the history without times, and other files."""
        checkpoints = folder / self.checkpoints
        newest, unreadable = newest_checkpoint(checkpoints)
        assert newest is not None
        assert not unreadable
        assert (checkpoints / "last.ckpt").exists()
        states = [load_checkpoint(path) for path in (checkpoints / best, newest)]
        with (folder / self.history).open(newline="", encoding="utf-8") as file:
            rows = [{key: row[key] for key in row.keys() - TIMES} for row in csv.DictReader(file)]
        return {
            "weights": [digest([state["state_dict"], state["optimizer_states"]]) for state in states],
            "steps": [state["global_step"] for state in states],
            "history": rows,
            "others": [(folder / name).read_bytes() for name in self.others],
        }


LAYOUTS = (
    Layout(
        name="fusecast fit",
        train=train_by_command,
        checkpoints="checkpoints",
        history="history.csv",
        others=("model.safetensors", "preprocessor.json"),
    ),
    Layout(name="script", train=train_by_script, checkpoints=".", history="metrics.csv"),
)


def digest(value: Any) -> str:
    """Return a hash of nested plain values and tensors."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        value = [(key, digest(each)) for key, each in value.items()]
    elif isinstance(value, list | tuple):
        value = [digest(each) for each in value]
    return hashlib.sha256(repr(value).encode()).hexdigest()


def nothing(*_: Any) -> None:
    """Disturb nothing."""


def record_renames(path: Path) -> Callable[[], None]:
    """Write a line at each rename."""

    def at_rename(_: int) -> None:
        with path.open("a") as file:
            file.write("rename\n")

    return lambda: call_around_renames(at_rename, nothing)


def kill_at_rename(number: int, after: bool) -> Callable[[], None]:
    """Kill this process before or after a rename."""

    def at_rename(count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: call_around_renames(*((nothing, at_rename) if after else (at_rename, nothing)))


def call_around_renames(before: Callable[[int], None], after: Callable[[int], None]) -> None:
    """Call functions with the number of each rename of this process, from 1; pathlib and shutil call these two."""
    numbers = itertools.count(1)

    def around(rename: Callable[..., None]) -> Callable[..., None]:
        def renaming(*args: Any, **options: Any) -> None:
            number = next(numbers)
            before(number)
            rename(*args, **options)
            after(number)

        return renaming

    os.rename, os.replace = around(os.rename), around(os.replace)


class Soak:
    """The trainings of one layout, in one folder."""

    def __init__(self, layout: Layout, base: Path) -> None:
        self.layout = layout
        self.base = base
        self.counts: Counter[str] = Counter()
        self.numbers = itertools.count()
        self.printed = base / "printed.txt"
        steps = np.arange(ROWS)
        noise = np.random.default_rng(0).normal(scale=0.2, size=ROWS)
        table = np.stack([steps, 5 + np.sin(steps / 3) + noise], axis=1)
        np.savetxt(base / "table.csv", table, fmt=("%d", "%.6f"), delimiter=",", header="ds,y", comments="")
        began = time.monotonic()
        code = self.attempt(base / "whole", False, record_renames(base / "renames.txt"), None)
        if code != 0:
            sys.exit(f"the undisturbed training ended with code {code}:\n{self.printed.read_text()}")
        self.duration = time.monotonic() - began
        self.renames = (base / "renames.txt").read_text().count("rename")
        (best,) = (base / "whole" / layout.checkpoints).glob("tft-*.ckpt")
        self.best = best.name
        self.expected = layout.result(base / "whole", self.best)

    def at_random_moments(self, kills: int, seed: int) -> None:
        """Kill trainings, and their resumptions, until there were so many kills."""
        rng = random.Random(seed)
        while self.counts["kills"] < kills:
            self.train((nothing, rng.uniform(0, self.duration)) for _ in iter(lambda: self.counts["kills"], kills))

    def at_renames(self, limit: int | None) -> None:
        """Kill one training before, and one after, each rename."""
        for number in range(1, min(self.renames, limit or self.renames) + 1):
            for after in (False, True):
                self.train(iter([(kill_at_rename(number, after), None)]))

    def train(self, disturbances: Iterator[tuple[Callable[[], None], float | None]]) -> None:
        """Train and resume until the end: with disturbances first, without any then; count how it went."""
        folder = self.base / f"run{next(self.numbers)}"
        self.counts["trainings"] += 1
        resume = False
        for prepare, seconds in itertools.chain(disturbances, itertools.repeat((nothing, None))):
            code = self.attempt(folder, resume, prepare, seconds)
            printed = self.printed.read_text(encoding="utf-8")
            if code == -signal.SIGKILL:
                self.counts["kills"] += 1
                resume = True
            elif code == 0:
                self.compare(folder, printed)
                return
            elif code == 2 and resume and "Hint: " in printed and "Traceback" not in printed:
                self.counts["refused"] += 1
                resume = False
                if any(folder.rglob("*.ckpt")):
                    self.report("lost", folder, printed)
                    return
            else:
                self.report("traceback" if "Traceback" in printed else "dead end", folder, printed)
                return

    def attempt(self, folder: Path, resume: bool, prepare: Callable[[], None], seconds: float | None) -> int:
        """Train in a process of its own, killed after some seconds; return its exit code, -9 where it was killed."""
        child = os.fork()
        if child == 0:
            output = os.open(self.printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            run_and_exit(prepare, lambda: self.layout.train(folder, resume))
        kill_at = None if seconds is None else time.monotonic() + seconds
        while kill_at is None or time.monotonic() < kill_at:
            ended, status = os.waitpid(child, 0 if kill_at is None else os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def compare(self, folder: Path, printed: str) -> None:
        """Count whether a training that has ended is the undisturbed one, and which files it has beyond that."""
        names = [{path.relative_to(run) for path in run.rglob("*")} for run in (folder, self.base / "whole")]
        self.counts["left-over files"] += len(names[0] - names[1])
        try:
            equal = self.layout.result(folder, self.best) == self.expected
        except Exception as error:  # noqa: BLE001  such as a missing file
            equal, printed = False, f"{printed}\n{error}"
        if equal:
            self.counts["exact"] += 1
        else:
            self.report("different", folder, printed)

    def report(self, fault: str, folder: Path, printed: str) -> None:
        """Count a fault and print what is known of it."""
        self.counts[fault] += 1
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        print(f"{fault}: {self.layout.name}, {folder.name}, with {', '.join(files)}\n{printed}", flush=True)


def run_and_exit(*actions: Callable[[], None]) -> None:
    """Run what a process was made for, and end it with the exit code of a script."""
    code: Any = 0
    try:
        torch.set_num_threads(1)
        for action in actions:
            action()
    except SystemExit as left:
        code = left.code or 0
    except BaseException:  # noqa: BLE001  as Python itself does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill trainings and resume them.")
    parser.add_argument("--kills", type=int, default=100, help="at random moments, for each layout")
    parser.add_argument("--renames", type=int, help="only the first so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows, faults = [], 0
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as base:
            soak = Soak(layout, Path(base))
            soak.at_random_moments(options.kills, options.seed)
            at_moments, soak.counts = soak.counts, Counter()
            soak.at_renames(options.renames)
        for name, counts in (("at random moments", at_moments), ("at every rename", soak.counts)):
            rows.append([layout.name, name, *(str(counts[column]) for column in COLUMNS)])
            faults += sum(counts[fault] for fault in FAULTS)
        print(f"{layout.name}: {soak.duration:.1f} s undisturbed, {soak.renames} renames", flush=True)
    rows.insert(0, ["layout", "killed", *COLUMNS])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
