from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """Realistic report data; see made_up.py beside this file."""
    place = Path(__file__).with_name("made_up.py")
    spec = importlib.util.spec_from_file_location("made_up", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
