"""One question to one library, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.libraries import CODE, Library

LOG = "log.txt"


def answer_of(
    library: Library, question: Mapping[str, Any], scratch: Path, environment: Mapping[str, str], timeout: float
) -> dict[str, Any]:
    """Run a driver on a question in a folder of its own, where its output is kept in :data:`LOG`: its answer, or
    ``error``.
    """
    asked, answer, log = (scratch / name for name in ("question.json", "answer.json", LOG))
    asked.write_text(json.dumps(question, default=str), encoding="utf-8")
    command = [str(library.python), "-P", "-m", library.module, str(asked), str(answer)]
    with log.open("w", encoding="utf-8") as output:
        try:
            subprocess.run(
                command, cwd=scratch, env=environment, stdout=output, stderr=output, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {timeout:.0f} s"}
    if not answer.exists():
        return {"error": "the process died: " + " | ".join(log.read_text(encoding="utf-8").splitlines()[-3:])}
    result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return result


def ask(
    library: Library,
    measure: str,
    task: Path,
    *,
    threads: int = 2,
    seconds: float = 15.0,
    windows: int = 3_200,
    steps: int = 0,
    seed: int = 0,
    every: int = 0,
    defaults: bool = False,
    forecasts: Path | None = None,
    timeout: float = 600.0,
) -> dict[str, Any]:
    """Give a driver's answer: ``values`` and ``peak_mb``, or ``error``. Nothing that a library does is fatal here."""
    if not library.python.exists():
        return {"error": f"{library.python} is missing; `make bench-venvs` makes it"}
    with tempfile.TemporaryDirectory(prefix="fusecast-bench-") as scratch:
        content = {
            "measure": measure,
            "task": str(task),
            "threads": threads,
            "seconds": seconds,
            "windows": windows,
            "steps": steps,
            "seed": seed,
            "every": every,
            "defaults": defaults,
            "forecasts": str(forecasts),
            "asked_at": time.time(),
        }
        environment = {
            **os.environ,
            "PYTHONPATH": CODE,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "POLARS_MAX_THREADS": str(threads),
            "CUDA_VISIBLE_DEVICES": "",
            "TQDM_DISABLE": "1",
        }
        began = time.monotonic()
        result = answer_of(library, content, Path(scratch), environment, timeout)
        result["wall_s"] = time.monotonic() - began
        if "error" in result:
            result["log"] = (Path(scratch) / LOG).read_text(encoding="utf-8")[-4_000:]
        return result
