"""A few of the kills of `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.python_server import run_python


@pytest.mark.slow
def test_killed_trainings_are_resumed_exactly() -> None:
    ran = run_python(Path(__file__).with_name("soak.py"), "--kills", 1, "--renames", 1)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "exact" in ran.stdout
