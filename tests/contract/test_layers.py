"""The structure: imports go one way, without cycles; files and folders stay small; importing is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fusecast

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "fusecast"

ORDER: tuple[tuple[str, ...], ...] = (
    ("_version",),
    ("errors",),
    ("data", "display", "kernels"),
    ("io", "model"),
    ("config_section",),
    ("config",),
    ("features", "runtime"),
    ("windows",),
    ("inference",),
    ("training",),
    ("evaluation",),
    ("calibration", "explain"),
    ("reporting",),
    ("workflows", "interop", "compat"),
    ("export",),
    ("estimator",),
    ("forecaster",),
    ("scale",),
    ("serving",),
    ("cli",),
    ("__main__",),
)
LAYER = {name: number for number, names in enumerate(ORDER) for name in names}
SAME_LAYER = {("interop", "compat")}  # weights of the scripts are converted by their own module

MODEL_MAY_IMPORT = {"torch", "fusecast"}
MODEL_MAY_ALSO = {
    ("model/distributions/negative_binomial.py", "scipy.stats"),  # torch has no incomplete beta function
    ("model/distributions/location_scale.py", "numpy"),
    ("model/distributions/location_scale.py", "numpy.polynomial.chebyshev"),
    ("model/distributions/location_scale.py", "scipy.special"),  # nor the quantile function of Student's t
}
ON_A_GPU_MACHINE = (  # with torch, NumPy, scipy and Lightning alone
    "fusecast.model.tft",
    "fusecast.windows.dataloader",
    "fusecast.windows.device_gatherer",
    "fusecast.training.lightning_module",
    "fusecast.training.datamodule",
)
MAX_LINES = 500
MAX_MODULES = 13


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its dotted name without ``fusecast.``."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports anywhere: at the top, in functions, for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dependencies(tree: ast.Module, known: set[str]) -> set[str]:
    """Return the modules of the package that a module imports, as the longest dotted names that are modules."""
    found = set()
    for name in imported(tree):
        root, _, rest = name.partition(".")
        if root != "fusecast":
            continue
        rest = f"{fusecast._MODULE_OF[rest]}.{rest}" if rest in fusecast._MODULE_OF else rest
        while rest and rest not in known:
            rest = rest.rpartition(".")[0]
        if rest:
            found.add(rest)
    return found


def upward(module: str, names: set[str]) -> list[str]:
    """Return the imports that go against the order of the layers."""
    room = module.partition(".")[0]
    rooms = {name: name.partition(".")[0] for name in names}
    return sorted(
        name
        for name, other in rooms.items()
        if other != room and LAYER[other] >= LAYER[room] and (room, other) not in SAME_LAYER
    )


@cache
def graph() -> dict[str, set[str]]:
    trees = modules()
    return {name: dependencies(tree, set(trees)) - {name} for name, tree in trees.items()}


def test_a_layer_imports_only_from_lower_layers() -> None:
    assert {name: wrong for name, names in graph().items() if (wrong := upward(name, names))} == {}


def test_the_check_of_layers_sees_lazy_and_type_only_imports() -> None:
    known = {"data", "data.panel", "training.fit", "forecaster", "model.tft"}
    lazy = ast.parse("def f():\n    from fusecast.training.fit import fit")
    typed = ast.parse("if TYPE_CHECKING:\n    from fusecast.data import panel\n    from fusecast import Forecaster")
    assert upward("data.panel", dependencies(lazy, known)) == ["training.fit"]
    assert upward("model.tft", dependencies(typed, known)) == ["forecaster"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_model_needs_torch_alone() -> None:
    foreign = {
        (module.replace(".", "/") + ".py", name)
        for module, tree in modules().items()
        if module.startswith("model.")
        for name in {found.rpartition(".")[0] or found for found in imported(tree)}
        if name.split(".")[0] not in sys.stdlib_module_names | MODEL_MAY_IMPORT
    }
    assert foreign == MODEL_MAY_ALSO


def test_what_a_gpu_machine_needs_imports_without_polars_and_pydantic() -> None:
    absent = ("polars", "pydantic", "pyarrow", "plotly", "safetensors")
    code = f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\n"
    code += "".join(f"import {name}\n" for name in ON_A_GPU_MACHINE)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples"])
def test_no_file_has_too_many_lines(folder: str) -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > MAX_LINES} == {}


def test_no_folder_has_too_many_modules() -> None:
    counts = {
        folder.relative_to(PACKAGE).as_posix(): sum(path.stem != "__init__" for path in folder.glob("*.py"))
        for folder in (PACKAGE, *PACKAGE.rglob("*"))
        if folder.is_dir()
    }
    assert {name: count for name, count in counts.items() if count > MAX_MODULES} == {}


def test_tests_mirror_the_package() -> None:
    of_no_folder = {"helpers", "reliability", "contract", "golden", "docs", "benchmarks", "forecaster", "packaging"}
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    wrong = {name for name in folders if name not in of_no_folder | {"."} and not (PACKAGE / name).is_dir()}
    assert wrong == set()


def test_docstrings_open_with_an_imperative_of_plain_english() -> None:
    openings = ("Give ", "Say ", "Tell ", "Judge ", "Look ", "Make out ")
    wrong = [
        f"{module}: {doc.splitlines()[0]}"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node))
        if doc.startswith(openings)
    ]
    assert wrong == []


@pytest.mark.parametrize("statement", ["import fusecast", "from fusecast import Forecaster", "import fusecast.cli.app"])
def test_importing_loads_no_heavy_library(statement: str) -> None:
    heavy = ["torch", "pytorch_lightning", "plotly", "pandas", "matplotlib"]
    code = f"{statement}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
