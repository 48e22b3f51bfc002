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
    ("target", "asked", "made"),
    [
        ("bench-venvs", "", PEERS),
        ("bench-venvs", "fusecast", set()),
        ("bench-venvs", "fusecast,darts,gluonts", {"darts", "gluonts"}),
        ("bench-fev", "", {"fev"}),
        ("bench-quality", "", {"darts", "pytorch-forecasting"}),
    ],
)
def test_only_what_is_asked_for_gets_an_environment(target: str, asked: str, made: set[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "benchmarks" / "peers" / "requirements", tmp_path / "benchmarks" / "peers" / "requirements")
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    command = ["make", "-n", target, f"BENCH_LIBRARIES={asked}", "FUSECAST_BENCH_VENVS="]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"requirements/([\w-]+)\.txt", said)) == made
