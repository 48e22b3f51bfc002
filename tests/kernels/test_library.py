"""The library is compiled, cached and checked, or done without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from ctypes import CDLL, Structure, c_float, c_void_p
from pathlib import Path

import pytest

from fusecast.kernels import bindings
from fusecast.kernels import library as kernel_library
from fusecast.kernels.bindings import GrnParameters, PackedMap, find_layout_mismatches
from fusecast.kernels.library import compile_sources, library, load_checked, read_sources

pytestmark = pytest.mark.skipif(library() is None, reason="no C compiler here, or FUSECAST_KERNELS=0")

PROGRAM = """
import torch
from fusecast.model import ModelConfig, TemporalFusionTransformer, example_batch
from fusecast.kernels.library import library
config = ModelConfig(horizon=2, lookback=3, known_categories=(3,), hidden_size=8, num_heads=2)
torch.manual_seed(0)
network, batch = TemporalFusionTransformer(config).eval(), example_batch(config, 2)
print(library() is not None, network(batch).quantiles.sum().item())
"""


def run_program(**environment: str) -> tuple[str, float]:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stderr == ""
    used, value = result.stdout.split()
    return used, float(value)


def test_without_kernels_the_network_computes_the_same(tmp_path: Path) -> None:
    used, value = run_program()
    assert used == "True"
    switched_off = run_program(FUSECAST_KERNELS="0")
    no_compiler = run_program(XDG_CACHE_HOME=str(tmp_path), PATH="", CC="/nonexistent")
    broken_compiler = run_program(XDG_CACHE_HOME=str(tmp_path), PATH="", CC="/bin/false")
    nowhere_to_write = run_program(XDG_CACHE_HOME="/proc/nowhere")
    for other in (switched_off, no_compiler, broken_compiler, nowhere_to_write):
        assert other == ("False", pytest.approx(value, abs=1e-5))


def test_a_damaged_library_is_compiled_anew(tmp_path: Path) -> None:
    run_program(XDG_CACHE_HOME=str(tmp_path))
    (built,) = (tmp_path / "fusecast" / "kernels").iterdir()
    whole = built.read_bytes()
    built.write_bytes(whole[:1000])
    assert run_program(XDG_CACHE_HOME=str(tmp_path))[0] == "True"
    assert len(built.read_bytes()) == len(whole)


def compile_changed(tmp_path: Path, pattern: str, replacement: str) -> Path:
    """Compile the table of layouts with another text in ``arguments.h``."""
    sources = read_sources()
    text = sources["arguments.h"].decode()
    changed = re.sub(pattern, replacement, text)
    assert changed != text
    path = tmp_path / "kernels-changed.so"
    changed_sources = {"layout.c": sources["layout.c"], "arguments.h": changed.encode()}
    assert compile_sources(shutil.which("gcc") or "cc", changed_sources, path)
    return path


def test_c_and_python_agree_on_every_structure() -> None:
    assert find_layout_mismatches(library()) == []
    declared = re.findall(r"^\} (\w+);", read_sources()["arguments.h"].decode(), flags=re.MULTILINE)
    assert sorted(declared) == sorted(structure.__name__ for structure in bindings.STRUCTURES)


@pytest.mark.parametrize(
    ("pattern", "replacement", "expected"),
    [
        pytest.param(r"float eps;", "double eps;", "DecoderArguments: 456 bytes at 0 in C, 448", id="size"),
        pytest.param(r"const float \*weight, \*bias;", "const float *bias, *weight;", "PackedMap.weight", id="offset"),
        pytest.param(r"int32_t threads, may_fold;", "int32_t threads, may_fold, more;", "GrnArguments", id="new field"),
    ],
)
def test_a_library_with_another_layout_is_refused(
    tmp_path: Path, pattern: str, replacement: str, expected: str
) -> None:
    path = compile_changed(tmp_path, pattern, replacement)
    with pytest.warns(RuntimeWarning, match=f"first {re.escape(expected)}"):
        assert load_checked(path) is None


def test_a_refused_library_is_not_computed_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compile_changed(tmp_path, r"float eps;", "double eps;")
    monkeypatch.setattr(kernel_library, "_build", lambda compiler: path)
    with pytest.warns(RuntimeWarning, match="the compiled kernels are not used"):
        assert library.__wrapped__() is None


def test_a_field_that_is_missing_or_differs_in_python_is_found() -> None:
    class Shorter(Structure):
        _fields_ = GrnParameters._fields_[:-1]

    class Swapped(Structure):
        _fields_ = PackedMap._fields_[::-1]

    class Narrower(Structure):
        _fields_ = [("weight", c_float), ("bias", c_void_p)]

    def names(structure: type[Structure], instead_of: type[Structure]) -> list[str]:
        structure.__name__ = instead_of.__name__
        others = [structure if s is instead_of else s for s in bindings.STRUCTURES]
        return [name for name, _ in find_layout_mismatches(library(), others)]

    assert names(Shorter, GrnParameters) == ["GrnParameters", "GrnParameters.shift"]
    assert names(Swapped, PackedMap) == ["PackedMap.bias", "PackedMap.weight"]
    assert names(Narrower, PackedMap) == ["PackedMap.weight"]


def test_a_library_without_a_table_of_layouts_is_refused(tmp_path: Path) -> None:
    sources = {"empty.c": b"int fusecast_nothing(void) { return 0; }"}
    path = tmp_path / "kernels-old.so"
    assert compile_sources(shutil.which("gcc") or "cc", sources, path)
    assert isinstance(CDLL(str(path)), CDLL)
    with pytest.warns(RuntimeWarning, match="the compiled kernels are not used"):
        assert load_checked(path) is None
