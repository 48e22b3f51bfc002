"""What a driver is asked, and how it answers: one process, one question, one JSON file. Standard library alone.

A question is ``{"measure": name, "task": path, "threads": n, "seconds": s, "windows": n, "steps": n, "seed": n,
"every": n, "defaults": bool, "asked_at": time, "forecasts": path}``; the answer is ``{"values": {...}, "peak_mb": ...,
"python": ...}`` or ``{"error": "..."}``. A driver is a class with a method for each measure; what the methods share is
here.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.task import Task

WARM_UP = 3  # steps or batches that are not counted

Values = dict[str, float]


class Enough(Exception):  # noqa: N818  it is no error: the time is over
    """Raised inside a library's training loop to leave it."""


class Question:
    """What is asked of a driver."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.measure: str = content["measure"]
        self.task = Task.read(Path(content["task"]))
        self.threads: int = content["threads"]
        self.seconds: float = content["seconds"]
        self.windows: int = content["windows"]  # to predict, over all series
        self.steps: int = content["steps"]  # to train, for `forecasts` and `quality`
        self.seed: int = content["seed"]
        self.every: int = content.get("every", 0)  # steps between two snapshots of the weights, for `quality`
        self.defaults: bool = content.get("defaults", False)  # train with the library's own options
        self.asked_at: float = content["asked_at"]
        self.forecasts: str = content["forecasts"]  # where `forecasts` and `quality` write their quantiles


class Ticker:
    """Counts steps as they end, and says when the time is over; use as `tick` of a callback."""

    def __init__(self, seconds: float, *, steps: int | None = None) -> None:
        self.seconds, self.steps = seconds, steps
        self.ends: list[float] = []
        self.cpu: list[float] = []

    def tick(self) -> None:
        """A step has ended."""
        self.ends.append(time.perf_counter())
        self.cpu.append(time.process_time())
        counted = len(self.ends) - WARM_UP
        if self.steps is not None:
            if len(self.ends) >= self.steps:
                raise Enough
        elif counted > 0 and self.ends[-1] - self.ends[WARM_UP - 1] >= self.seconds:
            raise Enough

    def rate(self, batch_size: int) -> Values:
        """Windows a second after the warm-up."""
        counted = len(self.ends) - WARM_UP
        if counted < 1:
            raise RuntimeError(f"training ended after {len(self.ends)} steps")
        spent, cpu = (times[-1] - times[WARM_UP - 1] for times in (self.ends, self.cpu))
        return rates(counted * batch_size, spent, cpu, counted)


def rates(windows: int, seconds: float, cpu_seconds: float, steps: int = 0) -> Values:
    """Windows a second; and a second of processor time, which says more where others use the machine too."""
    return {"windows_per_s": windows / seconds, "windows_per_cpu_s": windows / max(cpu_seconds, 1e-9), "steps": steps}


def ticking(callback: type, ticker: Ticker) -> Any:
    """Make a callback of a Lightning (there are two packages of it) that ticks at each training step's end."""

    class Tick(callback):  # type: ignore[misc]
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            ticker.tick()

    return Tick()


class Snapshots:
    """Copies of the weights after every so many steps, and the training time until then without that of validation."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.steps: list[int] = []
        self.weights: list[Any] = []
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self._began = self._paused = (time.perf_counter(), time.process_time())

    def pause(self) -> None:
        """What follows is not training."""
        self._paused = (time.perf_counter(), time.process_time())

    def go_on(self) -> None:
        """Training goes on."""
        now = (time.perf_counter(), time.process_time())
        wall, cpu = (begin + end - pause for begin, end, pause in zip(self._began, now, self._paused, strict=True))
        self._began = (wall, cpu)

    def take(self, step: int, weights: Callable[[], Any]) -> None:
        """A step has ended."""
        if step % self.every == 0 and step not in self.steps:
            self.pause()
            self.steps.append(step)
            for times, paused, began in zip((self.wall, self.cpu), self._paused, self._began, strict=True):
                times.append(paused - began)
            self.weights.append({name: tensor.detach().clone() for name, tensor in weights().items()})
            self.go_on()


def snapshotting(callback: type, snapshots: Snapshots, weights: Callable[[Any, Any], Any]) -> Any:
    """Make a callback of a Lightning that takes snapshots; `weights` gives them from a trainer and its module."""

    class Take(callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any, **__: Any) -> None:
            snapshots.take(trainer.global_step, lambda: weights(trainer, module))

        def on_validation_start(self, *_: Any) -> None:
            snapshots.pause()

        def on_validation_end(self, *_: Any) -> None:
            snapshots.go_on()

    return Take()


def repeat(step: Callable[[], int], seconds: float) -> Values:
    """Do a step again and again; it gives the windows that it handled."""
    for _ in range(WARM_UP):
        step()
    done = steps = 0
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds or not steps:
        done += step()
        steps += 1
    return rates(done, time.perf_counter() - began, time.process_time() - cpu, steps)


def endless(epoch: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """Give the batches of epoch after epoch."""
    while True:
        yield from epoch()


def peak_mb() -> float:
    """Peak of the resident set since the last :func:`forget_peak`, in MiB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def now_mb() -> float:
    """Resident set, in MiB; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 2**20
    return 0.0


def forget_peak() -> None:
    """Start the peak of the resident set anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def timed_build(build: Callable[[], Any]) -> Values:
    """Time something that is built once, and how much memory it takes beyond what was there."""
    before = now_mb()
    forget_peak()
    began, cpu = time.perf_counter(), time.process_time()
    built = build()
    values = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    values |= {"grown_mb": max(0.0, peak_mb() - before), "kept_mb": max(0.0, now_mb() - before)}
    del built
    return values


def serve(driver: type) -> None:
    """Answer the question in the file named first in the file named second."""
    question_path, answer_path = map(Path, sys.argv[1:3])
    question = Question(json.loads(question_path.read_text(encoding="utf-8")))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(question.threads)
    warnings.simplefilter("ignore")
    answer: dict[str, Any] = {"python": sys.version.split()[0]}
    try:
        answer["values"] = getattr(driver(question), question.measure)()
        answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    except BaseException as error:  # noqa: BLE001  whatever goes wrong is the answer
        answer["error"] = f"{type(error).__name__}: {str(error)[:500]}"
        traceback.print_exc()
    answer_path.write_text(json.dumps(answer), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # threads and hooks of a library have no say any more
