"""The house stands: layers import downwards only, files stay small, importing is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "fusecast"

LAYERS = {
    "_version": 0,
    "errors": 1,
    "data": 2,
    "kernels": 2,
    "io": 3,
    "model": 3,
    "features": 4,
    "runtime": 4,
    "windows": 5,
    "inference": 6,
    "training": 7,
    "evaluation": 8,
    "calibration": 9,
    "explain": 9,
    "reporting": 10,
    "config": 11,
    "workflows": 12,
    "interop": 12,
    "compat": 12,
    "asking": 13,
    "forecaster": 14,
    "serving": 15,
    "cli": 15,
    "__main__": 16,
    "judging": 13,
}
MODEL_MAY_IMPORT = {"torch", "fusecast"}
MODEL_MAY_ALSO = {("model/distributions/negative_binomial.py", "scipy.stats")}  # torch has no incomplete beta function


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            yield name, room, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def breaches(room: str, tree: ast.Module) -> list[str]:
    found = []
    for name in imported(tree):
        parts = name.split(".")
        if parts[0] != "fusecast" or len(parts) == 1 or parts[1] == room:
            continue
        if LAYERS[parts[1]] >= LAYERS[room]:
            found.append(name)
    return found


def test_a_layer_imports_only_from_lower_layers() -> None:
    wrong = {name: found for name, room, tree in modules() if (found := breaches(room, tree))}
    assert wrong == {}


def test_the_check_of_layers_sees_a_breach() -> None:
    upwards = ast.parse("from fusecast.training.fit import fit")
    sideways = ast.parse("def f():\n    import fusecast.data.panel")
    assert breaches("data", upwards) == ["fusecast.training.fit"]
    assert breaches("model", sideways) == ["fusecast.data.panel"]


def test_the_model_needs_torch_alone() -> None:
    standard = sys.stdlib_module_names
    foreign = {
        (name, module)
        for name, room, tree in modules()
        if room == "model"
        for module in imported(tree)
        if module.split(".")[0] not in standard | MODEL_MAY_IMPORT
    }
    assert foreign == MODEL_MAY_ALSO


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples"])
def test_no_file_has_more_than_500_lines(folder: str) -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > 500} == {}


@pytest.mark.parametrize("statement", ["import fusecast", "from fusecast import Forecaster", "import fusecast.cli.app"])
def test_importing_loads_no_heavy_library(statement: str) -> None:
    heavy = ["torch", "pytorch_lightning", "plotly", "pandas", "matplotlib"]
    code = f"{statement}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
