"""`fusecast fit`, killed twice and resumed with --resume, beside a run that nothing disturbs.

python killed_runs.py TABLE FOLDER      FOLDER/whole and FOLDER/parts are written

Each run is a process of its own; this one has loaded all libraries and never trains, so forking it is safe.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import fusecast.forecaster
import fusecast.training.fit  # noqa: F401  loaded once, for all runs
from fusecast.cli.app import main

SIZES = [
    *("--horizon", "2", "--lookback", "8", "--hidden-size", "8", "--heads", "2"),
    *("--batch-size", "4", "--epochs", "3", "--lr", "0.05"),
]
OPTIONS = [*SIZES, "--set", "training.windows_per_epoch=400", "--set", "training.checkpoint_steps=5"]


def start(*words: object) -> int:
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        sys.argv = ["fusecast", *map(str, words)]
        main()
        os._exit(0)
    return child


def end(child: int) -> None:
    status = os.waitpid(child, 0)[1]
    if status:
        sys.exit(f"a run ended with status {status}")


def kill_some_time_after_a_checkpoint(child: int, checkpoint: Path) -> None:
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        time.sleep(0.002)
    time.sleep(random.uniform(0.0, 0.5))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(f"the run was over before it could be killed, with status {status}")


if __name__ == "__main__":
    table, folder = Path(sys.argv[1]), Path(sys.argv[2])
    end(start("fit", table, "--out", folder / "whole", *OPTIONS))
    parts = folder / "parts"
    last = parts / "checkpoints" / "last.ckpt"
    kill_some_time_after_a_checkpoint(start("fit", table, "--out", parts, *OPTIONS), last)
    kill_some_time_after_a_checkpoint(start("fit", "--resume", "--out", parts), last)
    end(start("fit", "--resume", "--out", parts))
