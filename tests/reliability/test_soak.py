"""A few of the kills of `make soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_trainings_are_resumed_exactly() -> None:
    command = [sys.executable, Path(__file__).with_name("soak.py"), "--kills", "3", "--renames", "2"]
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "exact" in ran.stdout
