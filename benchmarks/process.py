"""One question to one library, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.libraries import ROOT, Library


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
    forecasts: Path | None = None,
    timeout: float = 600.0,
) -> dict[str, Any]:
    """Give a driver's answer: ``values`` and ``peak_mb``, or ``error``. Nothing that a library does is fatal here."""
    if not library.python.exists():
        return {"error": f"{library.python} is missing; `make bench-venvs` makes it"}
    with tempfile.TemporaryDirectory(prefix="fusecast-bench-") as scratch:
        question, answer, log = (Path(scratch) / name for name in ("question.json", "answer.json", "log.txt"))
        content = {
            "measure": measure,
            "task": str(task),
            "threads": threads,
            "seconds": seconds,
            "windows": windows,
            "steps": steps,
            "seed": seed,
            "forecasts": str(forecasts),
            "asked_at": time.time(),
        }
        question.write_text(json.dumps(content), encoding="utf-8")
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "POLARS_MAX_THREADS": str(threads),
            "CUDA_VISIBLE_DEVICES": "",
            "TQDM_DISABLE": "1",
        }
        command = [str(library.python), "-P", "-m", library.module, str(question), str(answer)]
        began = time.monotonic()
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
        result["wall_s"] = time.monotonic() - began
        if "error" in result:
            result["log"] = log.read_text(encoding="utf-8")[-4_000:]
        return result
