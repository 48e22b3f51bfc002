"""The four modules at the root, where fusecast or something that it needs is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULES = ("tft_lightning_model", "train_tft_lightning", "dataset", "config_lightning")
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pydantic", "polars"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


def last_lines(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return "\n".join(done.stderr.splitlines()[-2:])


@pytest.mark.parametrize("name", MODULES)
def test_without_fusecast_the_error_names_the_command(name: str) -> None:
    error = last_lines("-S", "-E", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}")
    assert error.startswith("ImportError: No module named 'fusecast'")
    assert f'Hint: pip install -e "{ROOT}"' in error


def test_the_training_script_itself_says_so() -> None:
    error = last_lines("-S", "-E", "train_tft_lightning.py")
    assert f'Hint: pip install -e "{ROOT}"' in error


@pytest.mark.parametrize("name", MODULES)
def test_without_what_fusecast_needs_the_error_names_that_and_the_command(name: str) -> None:
    paths = f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'src')!r}]"
    error = last_lines("-c", f"{BLOCK}\n{paths}\nimport {name}")
    assert error.startswith(("ImportError: No module named 'pydantic", "ImportError: No module named 'polars"))
    assert f'Hint: pip install -e "{ROOT}"' in error
