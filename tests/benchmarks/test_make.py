"""What `make` would do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = {"pytorch-forecasting", "neuralforecast", "darts", "gluonts"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("asked", "made"), [("", PEERS), ("fusecast", set()), ("fusecast,darts,gluonts", {"darts", "gluonts"})]
)
def test_only_the_peers_that_are_asked_for_get_an_environment(asked: str, made: set[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "benchmarks" / "peers" / "requirements", tmp_path / "benchmarks" / "peers" / "requirements")
    (tmp_path / "constraints.txt").touch()
    command = ["make", "-n", "bench-venvs", f"BENCH_LIBRARIES={asked}", "FUSECAST_BENCH_VENVS="]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"requirements/([\w-]+)\.txt", said)) == made
