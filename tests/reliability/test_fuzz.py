"""`make fuzz` in small: no damaged file and no hostile table ends in a traceback, a hang, or another answer."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_few_damaged_files_and_hostile_tables_are_answered_or_refused() -> None:
    command = [sys.executable, "-m", "tests.reliability.fuzz", "--mutations", "3", "--tables", "5", "--jobs", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "42 cases, 0 faults, seed 0" in ended.stdout
