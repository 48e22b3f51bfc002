"""Forecast a folder on a local Ray cluster of two processes, one of which is killed: a script.

python ray_prediction.py RUN DATA OUT PLANS SCRATCH    prints in JSON what was killed and done, and what is left running
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import ray

from fusecast import predict_folder

WORKER = "ray::Map("
SECONDS = 400


def processes(root: int) -> dict[int, str]:
    """Return the commands of all processes that descend from one, by their ids."""
    parents, commands = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if state == "Z":  # it has ended, and nobody has asked how
                continue
            parents[int(status.parent.name)] = int(parent)
            commands[int(status.parent.name)] = status.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue
    found, new = set(), {root}
    while new:
        found |= new
        new = {pid for pid, parent in parents.items() if parent in new}
    return {pid: commands[pid] for pid in found - {root} if pid in commands}


class KillOne:
    """Kill a process that forecasts, by its id, when the first partition is done."""

    killed: int | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.killed is None and done < total:
            workers = [pid for pid, command in processes(os.getpid()).items() if command.startswith(WORKER)]
            for self.killed in workers[:1]:
                os.kill(self.killed, signal.SIGKILL)


def stop(*_: object) -> None:
    raise TimeoutError(f"not done in {SECONDS} s")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, stop)  # so that the processes of the cluster are ended all the same
    signal.alarm(SECONDS)
    run, data, out, plans, scratch = map(Path, sys.argv[1:])
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="warning",
        _temp_dir=str(scratch),
    )
    started = set(processes(os.getpid()))
    kill = KillOne()
    try:
        result = asdict(predict_folder(run, data, out, plans, engine="ray", on_progress=kill))
        again = asdict(predict_folder(run, data, out, plans, engine="ray"))
    finally:
        started |= set(processes(os.getpid()))
        ray.shutdown()
    patience = time.monotonic() + 60
    while (left := started & set(processes(1))) and time.monotonic() < patience:
        time.sleep(0.1)
    said = {"killed": kill.killed, "rows": result["rows"], "kept": again["kept"], "left": sorted(left)}
    sys.stdout.write(json.dumps(said) + "\n")
