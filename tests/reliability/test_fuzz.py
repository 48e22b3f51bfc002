"""`make fuzz` in small: no damaged file and no hostile table ends in a traceback, a hang, or another answer."""

from __future__ import annotations

import pytest
from tests.helpers.python_server import run_python


@pytest.mark.slow
def test_a_few_damaged_files_and_hostile_tables_are_answered_or_refused() -> None:
    ended = run_python("-m", "tests.reliability.fuzz", "--mutations", 2, "--tables", 2, "--jobs", 1)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "26 cases, 0 faults, seed 0" in ended.stdout
