"""Every test that docs/data.md names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
CASES = [line for line in PAGE.splitlines() if re.match(r"\| (?!case |---)", line)]


def test_the_page_has_cases() -> None:
    assert len(CASES) > 5


@pytest.mark.parametrize("case", CASES)
def test_the_test_of_a_case_is_there(case: str) -> None:
    path, _, name = case.rstrip(" |").rpartition("| ")[2].strip("`").partition("::")
    assert re.search(rf"^ *def {name}\(", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE), case
