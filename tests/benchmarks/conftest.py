"""The benchmarks are a package at the root of the checkout; it is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from tests.helpers.python_server import run_python

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))


@pytest.fixture
def forked_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of benchmarks begin with the libraries loaded; the time that loading takes is not compared."""
    from benchmarks import process, scaling

    def run(command: list[str], *, stdout: IO[str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        cwd = Path(options["cwd"]) if "cwd" in options else None
        assert command[1] == "-P"
        ran = run_python(*command[2:], cwd=cwd, env=options["env"])
        if stdout is not None:
            stdout.write(ran.stdout + ran.stderr)
        return ran

    for module in (process, scaling):
        replaced = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)
        monkeypatch.setattr(module, "subprocess", replaced)
