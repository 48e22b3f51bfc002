"""Training: a model trained on a table in a process of its own, which the server watches and can stop."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusecast.errors import TrainingError
from fusecast.inference.model_bundle import CONFIG
from fusecast.io.atomic import write_text_atomically
from fusecast.io.documents import parse_json, read_bytes
from fusecast.io.tables import write_table
from fusecast.serving.trainings.process import BUNDLE, JOB, OUTCOME, PHASE, READING, REPORT, RUN, TRAINING

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from fusecast.config import RunConfig

State = Literal["running", "done", "failed", "stopped"]
FINAL = "training the final networks with all rows"
STOPPING = "stopping with the best weights so far"
LOG = "log.txt"
LARGEST_SHARE = 0.99
"""Share of a training at most that is shown as done while it runs."""


class Training:
    """One training, in a folder of its own; `on_end` is called when a model is there, before its end is told."""

    def __init__(
        self, name: str, folder: Path, config: RunConfig, table: pl.DataFrame, on_end: Callable[[Training], None]
    ) -> None:
        self.name, self.folder = name, folder
        self.state: State = "running"
        self.message: str | None = None
        self.has_model = False
        path = folder / f"{name}.parquet"  # the report has its name
        self._config = config.model_copy(update={"data": str(path)})
        self._began, self._seconds = time.monotonic(), 0.0
        self._stopping = False
        write_table(table, path)
        write_text_atomically(folder / JOB, json.dumps(self._config.to_dict()))
        with (folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  a module of ours, in this interpreter
                [sys.executable, "-P", "-m", "fusecast.serving.trainings.process", str(folder)],
                stdin=subprocess.PIPE,  # which closes with this process, whatever ends it
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
                start_new_session=True,
            )
        self._watcher = threading.Thread(target=self._watch, args=(on_end,), daemon=True)
        self._watcher.start()

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder / RUN

    @property
    def model(self) -> Path | None:
        """The folder of the model: the bundle, which has scores, or else the run; None where there is none."""
        return next((path for path in (self.folder / BUNDLE, self.run) if (path / CONFIG).is_file()), None)

    @property
    def report(self) -> Path | None:
        """The HTML file about the run; None where there is none."""
        path = self.folder / REPORT
        return path if self.state != "running" and path.is_file() else None

    def describe(self) -> dict[str, Any]:
        """Return how far the training is, as plain values."""
        losses = _read_history(self.run / "history.csv")
        phase, step, steps = self._read_phase(), losses[-1]["step"] if losses else 0, self._config.training.max_steps
        if phase == FINAL:
            steps = _read_steps(self.run / "final" / "plan.json")
            step = max((row["step"] for row in _read_history(self.run / "final" / "history.csv")), default=0)
        seconds = self._seconds or time.monotonic() - self._began
        return {
            "id": self.name,
            "state": self.state,
            "phase": phase if self.state == "running" else self.state,
            "step": step,
            "steps": steps,
            "share": self._share(phase, step, steps, len(losses), seconds),
            "seconds": round(seconds, 1),
            "budget": self._config.budget_seconds,
            "losses": losses,
            "message": self.message,
            "model": self.name if self.has_model and self.state != "running" else None,
            "report": self.report is not None,
            "folder": str(self.folder),
        }

    def stop(self) -> None:
        """Let the training end with its best weights so far, calibrated and saved; the second time, at once."""
        if self.state == "running":
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL if self._stopping else signal.SIGINT)
            self._stopping = True

    def close(self) -> None:
        """End the process at once; what it has written stays."""
        self._stopping = True
        self._process.kill()
        self._watcher.join()

    def _watch(self, on_end: Callable[[Training], None]) -> None:
        """Wait for the end of the process, and take over what came of it."""
        code = self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        outcome = self._read_outcome(code)
        try:
            if outcome["state"] != "failed" and self.model is not None:
                on_end(self)
                self.has_model = True
        except Exception as error:  # noqa: BLE001  whatever is wrong with the model is what became of the training
            outcome = {"state": "failed", "message": str(error)}
        self._seconds = time.monotonic() - self._began
        self.message, self.state = outcome["message"], outcome["state"]

    def _read_outcome(self, code: int) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            outcome: dict[str, Any] = parse_json(read_bytes(self.folder / OUTCOME))
            return outcome
        if self._stopping:
            return {"state": "stopped", "message": "the training was stopped before there was a model"}
        lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if code < 0:
            return {"state": "failed", "message": TrainingError.killed_process(signal.Signals(-code).name)}
        return {"state": "failed", "message": TrainingError.failed_process(code, last)}

    def _read_phase(self) -> str:
        if self._stopping and self.state == "running":
            return STOPPING
        try:
            phase = (self.folder / PHASE).read_text(encoding="utf-8")
        except OSError:
            return READING
        return FINAL if phase == TRAINING and (self.run / "final" / "history.csv").is_file() else phase

    def _share(self, phase: str, step: int, steps: int | None, epochs: int, seconds: float) -> float | None:
        """Return how much of the training is done; None where that is unknown."""
        if self.state != "running":
            return 1.0
        if phase == READING:
            return None
        budget, training = self._config.budget_seconds, self._config.training
        if budget is not None:
            return min(seconds / budget, LARGEST_SHARE)
        done = step / steps if steps else epochs / training.max_epochs
        if training.final != "none":
            done = 0.5 + done / 2 if phase == FINAL else done / 2
        return min(done, LARGEST_SHARE) if phase in (TRAINING, FINAL) else LARGEST_SHARE


def _read_history(path: Path) -> list[dict[str, Any]]:
    """Return the steps and losses of each epoch so far; none where there is no file yet."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return []
    return [
        {"step": int(row["step"]), "train": _to_loss(row["train_loss"]), "validation": _to_loss(row["val_loss"])}
        for row in rows
    ]


def _to_loss(text: str) -> float | None:
    """Return a number that JSON has, None where there is none."""
    return float(text) if text and math.isfinite(float(text)) else None


def _read_steps(path: Path) -> int | None:
    """Return the steps of the longest final training; None where they are not written down yet."""
    try:
        return max(int(plan["steps"]) for plan in parse_json(read_bytes(path))["plans"])
    except (OSError, ValueError):
        return None
