"""The four modules at the root, where fusecast or something that it needs is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


IMPORT_EACH = f"""
for name in {MODULES}:
    try:
        __import__(name)
    except ImportError as error:
        print(name, type(error).__name__, *str(error).splitlines(), sep="|")
"""


def errors_of(*flags: str, code: str) -> dict[str, list[str]]:
    """Return the type and the lines of the error of each module, in one process."""
    command = [sys.executable, *flags, "-c", code + IMPORT_EACH]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = {name: rest for name, *rest in (line.split("|") for line in done.stdout.splitlines())}
    assert tuple(found) == MODULES
    return found


def test_without_fusecast_the_error_names_the_command() -> None:
    errors = errors_of("-S", "-E", code=f"import sys; sys.path.insert(0, {str(ROOT)!r})")
    for kind, what, hint in errors.values():
        assert (kind, what) == ("ImportError", "No module named 'fusecast'")
        assert hint.startswith(f'Hint: pip install -e "{ROOT}"')


def test_the_training_script_itself_says_so() -> None:
    command = [sys.executable, "-S", "-E", "train_tft_lightning.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f'Hint: pip install -e "{ROOT}"' in "\n".join(done.stderr.splitlines()[-2:])


def test_without_what_fusecast_needs_the_error_names_that_and_the_command() -> None:
    errors = errors_of(code=f"{BLOCK}\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'src')!r}]")
    for kind, what, hint in errors.values():
        assert kind == "ImportError"
        assert what.startswith(("No module named 'pydantic", "No module named 'polars"))
        assert hint.startswith(f'Hint: pip install -e "{ROOT}"')
