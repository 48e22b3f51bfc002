from __future__ import annotations

from types import ModuleType

import pytest
from tests.helpers import report_samples


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """Realistic report data."""
    return report_samples
