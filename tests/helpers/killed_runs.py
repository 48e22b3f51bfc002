"""`fusecast fit`, killed or interrupted and resumed with --resume, beside a run that nothing disturbs.

python killed_runs.py TABLE FOLDER

Writes FOLDER/whole, FOLDER/killed (by SIGKILL before its first checkpoint, and twice after one) and FOLDER/interrupted
(by Ctrl+C before its first epoch was validated, then by SIGTERM, and by SIGTERM again when its model was saved). Each
run is a process of its own; this one has loaded all libraries and never trains, so forking it is safe.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import fusecast.cli.output
import fusecast.forecaster
import fusecast.training.fit
from fusecast.cli.app import main

SIZES = [
    *("--horizon", "2", "--lookback", "8", "--hidden-size", "8", "--heads", "2"),
    *("--batch-size", "4", "--epochs", "2", "--lr", "0.05", "--members", "1"),
]
OPTIONS = [*SIZES, "--set", "training.windows_per_epoch=400", "--set", "training.checkpoint_steps=5", "--final", "none"]
STEPS_AN_EPOCH = 100


def start(*words: object, terminate: bool = False) -> int:
    """Start a run, to which SIGTERM is sent when training is over and the model has been saved, if so requested."""
    child = os.fork()
    if child == 0:
        if terminate:
            fusecast.cli.output.print_training = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl+C
        torch.set_num_threads(1)
        sys.argv = ["fusecast", *map(str, words)]
        main()
        os._exit(0)
    return child


def expect_exit(child: int, code: int) -> None:
    status = os.waitpid(child, 0)[1]
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != code:
        sys.exit(f"a run ended with status {status}, not with code {code}")


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(f"the run was over before it could be killed, with status {status}")


def rewritten(path: Path) -> Callable[[], bool]:
    """Return whether a file has been written since this call."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    return lambda: path.exists() and path.stat().st_mtime_ns != before


def kill_again_and_again(table: Path, folder: Path) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    child = start("fit", table, "--out", folder, *OPTIONS)
    wait_until((folder / "run.yaml").exists)
    kill(child)
    if last.exists():
        sys.exit("the first run was to be killed before its first checkpoint")
    for _ in range(2):
        condition = rewritten(last)
        child = start("fit", "--resume", "--out", folder)
        wait_until(condition)
        time.sleep(random.Random(0).uniform(0.0, 0.5))
        kill(child)
    expect_exit(start("fit", "--resume", "--out", folder), 0)


def interrupt_and_terminate(table: Path, folder: Path) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    for number, code, words in (
        (signal.SIGINT, 130, ("fit", table, "--out", folder, *OPTIONS)),
        (signal.SIGTERM, 143, ("fit", "--resume", "--out", folder)),
    ):
        condition = rewritten(last)
        child = start(*words)
        wait_until(condition)
        os.kill(child, number)
        expect_exit(child, code)
        if (folder / "model.safetensors").exists():
            sys.exit(f"a run that ended with code {code} left a model")
    status = os.waitpid(start("fit", "--resume", "--out", folder, terminate=True), 0)[1]
    if os.waitstatus_to_exitcode(status) != -signal.SIGTERM:  # which shells show as 143
        sys.exit(f"a run that was terminated at its end ended with status {status}")
    if not (folder / "model.safetensors").exists():
        sys.exit("a run that was terminated after its model was saved has none")


if __name__ == "__main__":
    table, folder = Path(sys.argv[1]), Path(sys.argv[2])
    expect_exit(start("fit", table, "--out", folder / "whole", *OPTIONS), 0)
    kill_again_and_again(table, folder / "killed")
    interrupt_and_terminate(table, folder / "interrupted")
