"""MemberProcesses: the processes that train members of an ensemble, and what passes between them and this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file

from fusecast.data.arrays import is_mapped, large_files_folder, save
from fusecast.errors import FusecastError, TrainingError
from fusecast.errors.artifact import translate_os_errors
from fusecast.features.encoded_panel import EncodedPanel, Inputs
from fusecast.features.new_series import NewSeries
from fusecast.io.atomic import scratch_folder
from fusecast.kernels.library import SWITCH, library
from fusecast.model.config import ModelConfig
from fusecast.training.callbacks.progress import PROGRESS_LINE, in_notebook, notify
from fusecast.training.final import StepPlan
from fusecast.training.fit import FitResult
from fusecast.training.members.ensemble import Ensemble, LoadInitialWeights, result_from_values, result_to_values
from fusecast.windows.window_index import WindowIndex

POLL_SECONDS, MAX_ENDING_SECONDS = 0.05, 60.0


class MemberProcesses:
    """The processes that train all members but the first, see :mod:`fusecast.training.members.process`.

    At the end of the block those that still run are ended. A process whose parent has died ends at once. Ctrl+C in a
    terminal reaches this process alone, which passes it on.
    """

    def __init__(self, ensemble: Ensemble, initial: Sequence[LoadInitialWeights]) -> None:
        self.ensemble, self.initial = ensemble, initial
        self.results: dict[int, FitResult] = {}
        self.waiting: list[int] = []
        self.running: dict[int, subprocess.Popen[str]] = {}
        self.readers: dict[int, threading.Thread] = {}
        self.last_lines: dict[int, str] = {}
        self.interrupted = False
        self.limit = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        place = large_files_folder() if is_mapped(self.ensemble.encoded.reals) else None
        self.scratch = self._stack.enter_context(scratch_folder("fusecast-members-", place))
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs: each process writes its state first."""
        with self._stack:
            try:
                self._send(signal.SIGTERM)
                until = time.monotonic() + MAX_ENDING_SECONDS
                while time.monotonic() < until and any(each.poll() is None for each in self.running.values()):
                    time.sleep(POLL_SECONDS)
            finally:
                self._send(signal.SIGKILL)
                for number in list(self.running):
                    self._close(number)

    def start(self, limit: int) -> None:
        """Start the first processes, at most `limit` at a time from now on; finished members are taken over."""
        self.limit = limit
        for number in range(1, self.ensemble.training_config.members):
            finished = self.ensemble.load_finished(number)
            if finished is None:
                self.waiting.append(number)
            else:
                self.results[number] = finished
        if self.waiting:
            write_job(self.ensemble, self.scratch)
            for number in self.waiting if self.initial else ():
                weights = {name: tensor.contiguous() for name, tensor in self.initial[number].weights.items()}
                save_file(weights, self.scratch / f"initial-{number}.safetensors")
        self.poll()

    def poll(self) -> None:
        """Start processes in place of those that have ended; raise a TrainingError where one failed."""
        for number, process in list(self.running.items()):
            if process.poll() is None:
                continue
            code = self._close(number)
            values = self._read_result(number)
            if values is None and not self.interrupted:
                raise TrainingError.in_member(number + 1, self._describe_end(number, code))
            if values is not None and "error" in values:
                raise TrainingError.in_member(number + 1, values["error"])
        while self.waiting and len(self.running) < self.limit and not self.interrupted:
            self._start(self.waiting.pop(0))

    def interrupt(self) -> None:
        """Let each process end with its best weights so far, and start no more."""
        self.interrupted = True
        self._send(signal.SIGINT)

    def wait(self, limit: int) -> list[FitResult]:
        """Return the results when all have ended, those that have one; a second Ctrl+C is a KeyboardInterrupt."""
        self.limit = limit
        while True:
            try:
                self.poll()
                if not self.running:
                    break
                time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                if self.interrupted:
                    raise
                self.interrupt()
        for number in range(1, self.ensemble.training_config.members):
            values = self._read_result(number)
            if values is not None:
                folder = self.ensemble.folder_of(number)
                self.results[number] = result_from_values(values, folder, self.ensemble.model_config)
        return [self.results[number] for number in sorted(self.results)]

    def _start(self, number: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            **({SWITCH: "0"} if library() is None else {}),  # why there are no kernels has been said here
        }
        process = subprocess.Popen(  # noqa: S603  this module, in this interpreter
            [sys.executable, "-P", "-m", "fusecast.training.members.process", str(self.scratch), str(number)],
            stdin=subprocess.PIPE,  # which closes with this process, whatever ends it
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            process_group=0,
        )
        assert process.stderr is not None
        self.running[number] = process
        self.readers[number] = threading.Thread(target=self._print, args=(number, process.stderr), daemon=True)
        self.readers[number].start()

    def _close(self, number: int) -> int:
        """Return the exit code of a process, when it has ended and all that it printed has been printed."""
        process = self.running[number]
        code = process.wait()
        self.readers[number].join()
        for pipe in (process.stdin, process.stderr):
            if pipe is not None:
                pipe.close()
        del self.running[number]
        return code

    def _print(self, number: int, lines: IO[str]) -> None:
        quiet = in_notebook()  # which shows the first member alone
        for line in lines:
            if line.strip():
                self.last_lines[number] = line.strip()
                if quiet and PROGRESS_LINE.match(line):
                    continue
                with suppress(OSError, ValueError):  # nobody reads on: the process must not wait for that
                    notify(f"member {number + 1}  {line.rstrip()}")

    def _read_result(self, number: int) -> dict[str, Any] | None:
        """Return what the process of a member wrote: a result, or its error; None where it wrote nothing."""
        path = self.scratch / f"result-{number}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _send(self, number: signal.Signals) -> None:
        for process in self.running.values():
            process.send_signal(number)

    def _describe_end(self, number: int, code: int) -> str:
        if code < 0:
            return TrainingError.killed_process(signal.Signals(-code).name)
        return TrainingError.failed_process(code, self.last_lines.get(number, ""))


class Watch(pl.Callback):
    """Keep the processes of the other members running while the first one trains."""

    def __init__(self, others: MemberProcesses) -> None:
        self.others = others

    def on_train_batch_end(self, *_: Any) -> None:
        """Start processes in place of those that are done; raise the error of one that failed."""
        self.others.poll()

    def on_validation_batch_end(self, *_: Any) -> None:
        """Do the same while the first member is validated."""
        self.others.poll()


def write_job(ensemble: Ensemble, folder: Path) -> None:
    """Write an ensemble into a folder, its arrays as files that processes map into their memory."""
    encoded, indices = ensemble.encoded, {"train": ensemble.train, "valid": ensemble.valid}
    arrays = {field.name: getattr(encoded, field.name) for field in fields(encoded)}
    new = arrays.pop("new_series")
    if new is not None:
        arrays |= {f"new_series.{field.name}": getattr(new, field.name) for field in fields(new)}
    values: dict[str, Any] = {
        "model_config": ensemble.model_config.to_dict(),
        "training_config": ensemble.training_config.to_dict(),
        "folder": str(ensemble.folder.absolute()),
        "resume": ensemble.resume,
        "scalings": ensemble.scalings,
        "plans": [plan.to_dict() for plan in ensemble.plans],
        "turns": ensemble.turns,
        "deadline": ensemble.deadline,
        "inputs": asdict(arrays.pop("inputs")),
        "window_scaling": arrays.pop("window_scaling"),
        "season": arrays.pop("season"),
        "new_kinds": arrays.pop("new_series.kinds", None),
        "threads": torch.get_num_threads(),
    }
    for name, index in indices.items():
        values[name] = (
            None if index is None else {key: getattr(index, key) for key in ("lookback", "horizon", "stride")}
        )
        if index is not None:
            arrays |= {f"{name}.{key}": getattr(index, key) for key in ("first_cutoff", "last_cutoff")}
    for name, array in arrays.items():
        save(folder / f"{name}.npy", array)
    (folder / "job.json").write_text(json.dumps(values), encoding="utf-8")


def read_job(folder: Path) -> tuple[Ensemble, int]:
    """Return the ensemble in a folder, and the threads of each member."""
    from fusecast.config import TrainingConfig

    values = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    arrays: dict[str, Any] = {  # copied where they are written to, which nothing does
        path.stem: np.load(path, mmap_mode="c", allow_pickle=False) for path in folder.glob("*.npy")
    }
    indices: dict[str, WindowIndex | None] = {}
    for name in ("train", "valid"):
        cutoffs = {key: arrays.pop(f"{name}.{key}", None) for key in ("first_cutoff", "last_cutoff")}
        indices[name] = None if values[name] is None else WindowIndex(**values[name], **cutoffs)
    new: dict[str, Any] = {
        name.removeprefix("new_series."): arrays.pop(name) for name in list(arrays) if name.startswith("new_series.")
    }
    inputs: dict[str, Any] = {
        name: tuple(each) if isinstance(each, list) else each for name, each in values["inputs"].items()
    }
    ensemble = Ensemble(
        model_config=ModelConfig(**values["model_config"]),
        training_config=TrainingConfig(**values["training_config"]),
        encoded=EncodedPanel(
            inputs=Inputs(**inputs),
            window_scaling=values["window_scaling"],
            season=values["season"],
            new_series=NewSeries(kinds=tuple(values["new_kinds"]), **new) if new else None,
            **arrays,
        ),
        train=indices["train"],  # type: ignore[arg-type]  # there always is one
        valid=indices["valid"],
        folder=Path(values["folder"]),
        resume=values["resume"],
        scalings=tuple(values["scalings"]),
        plans=tuple(map(StepPlan.from_dict, values["plans"])),
        turns=values["turns"],
        deadline=values["deadline"],
    )
    return ensemble, values["threads"]


def run_job(folder: Path, number: int) -> dict[str, Any]:
    """Train one member of the ensemble in a folder, and return plain values: of its result, or its error in words."""
    ensemble, threads = read_job(folder)
    torch.set_num_threads(threads)
    weights = folder / f"initial-{number}.safetensors"
    try:
        with translate_os_errors(f"a file in {ensemble.folder_of(number)}"):
            initial = [LoadInitialWeights(load_file(weights))] if weights.exists() else []
            return result_to_values(ensemble.fit(number, callbacks=initial))
    except FusecastError as error:
        return {"error": str(error)}
