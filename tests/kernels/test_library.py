"""The library is compiled, cached and checked, or done without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from ctypes import CDLL, Structure, c_double
from pathlib import Path

import pytest

from fusecast.kernels import library as kernel_library
from fusecast.kernels.bindings import STRUCTURES, LstmArguments, define_structures
from fusecast.kernels.library import call, compile_sources, library, load_checked, read_sources

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


def test_several_threads_may_load_the_library_at_once_and_nothing_is_built_before() -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from fusecast.kernels.bindings import GatherArguments
from fusecast.kernels.library import library
try:
    GatherArguments(windows=1)
except AssertionError:
    pass
else:
    raise SystemExit("a structure without fields was built")
start = Barrier(8)
def load(_):
    start.wait()
    return library() is not None
with ThreadPoolExecutor(8) as pool:
    assert all(pool.map(load, range(8)))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_damaged_library_is_compiled_anew(tmp_path: Path) -> None:
    run_program(XDG_CACHE_HOME=str(tmp_path))
    (built,) = (tmp_path / "fusecast" / "kernels").iterdir()
    whole = built.read_bytes()
    built.write_bytes(whole[:1000])
    assert run_program(XDG_CACHE_HOME=str(tmp_path))[0] == "True"
    assert len(built.read_bytes()) == len(whole)


def plant(path: Path, sign: Path) -> None:
    """Replace a library by one with a right checksum that writes a file when it is loaded."""
    source = f"""
    #include <stdio.h>
    __attribute__((constructor)) static void run(void) {{ fclose(fopen("{sign}", "w")); }}
    """
    path.unlink()
    assert compile_sources(shutil.which("gcc") or "cc", {"planted.c": source.encode()}, path)


def open_folder(folder: Path, path: Path) -> None:
    folder.chmod(0o777)


def open_folder_to_group(folder: Path, path: Path) -> None:
    folder.chmod(0o770)


def link_folder(folder: Path, path: Path) -> None:
    folder.symlink_to(folder.rename(folder.with_name("elsewhere")))


def link_library(folder: Path, path: Path) -> None:
    path.symlink_to(path.rename(folder / "other.so"))


def open_library(folder: Path, path: Path) -> None:
    path.chmod(0o722)


def own_by_another(folder: Path, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(folder, 1, -1)


def own_library_by_another(folder: Path, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 1, -1)


@pytest.mark.parametrize(
    ("change", "is_compiled_anew"),
    [
        (open_folder, False),
        (open_folder_to_group, False),
        (link_folder, False),
        (own_by_another, False),
        (link_library, True),
        (open_library, True),
        (own_library_by_another, True),
    ],
)
def test_a_library_that_another_user_may_have_planted_is_not_loaded(
    tmp_path: Path, change: Callable[[Path, Path], None], is_compiled_anew: bool
) -> None:
    places = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    run_program(**places)
    folder = tmp_path / "cache" / "fusecast" / "kernels"
    (path,) = folder.iterdir()
    whole, sign = path.read_bytes(), tmp_path / "executed"
    plant(path, sign)
    planted = path.read_bytes()
    change(folder, path)
    before = folder.stat().st_mode
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **places}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("True ")
    assert not sign.exists()
    assert ("RuntimeWarning: the compiled kernels are not taken from" in ran.stderr) != is_compiled_anew
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (len(path.read_bytes()) == len(whole)) if is_compiled_anew else (path.read_bytes() == planted)
    assert folder.stat().st_mode == before


def test_a_planted_library_does_run_where_the_cache_is_trusted(tmp_path: Path) -> None:
    run_program(XDG_CACHE_HOME=str(tmp_path))
    (path,) = (tmp_path / "fusecast" / "kernels").iterdir()
    plant(path, tmp_path / "executed")
    program = [sys.executable, "-c", PROGRAM]
    subprocess.run(program, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, check=True)
    assert (tmp_path / "executed").exists()


def test_the_cache_is_the_users_own_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        run_program(XDG_CACHE_HOME=str(tmp_path))
    finally:
        os.umask(umask)
    folder = tmp_path / "fusecast" / "kernels"
    (built,) = folder.iterdir()
    assert (folder.stat().st_mode | built.stat().st_mode) & 0o022 == 0


def compile_changed(tmp_path: Path, name: str, pattern: str, replacement: str) -> Path:
    """Compile the table of layouts with another text in one of its files."""
    sources = {name: read_sources()[name] for name in ("layout.c", "arguments.h")}
    text = sources[name].decode()
    sources[name] = re.sub(pattern, replacement, text, flags=re.DOTALL).encode()
    assert sources[name].decode() != text
    path = tmp_path / "kernels-changed.so"
    assert compile_sources(shutil.which("gcc") or "cc", sources, path)
    return path


def undefined_structures() -> list[type[Structure]]:
    """Return the structures as a process has them that has not loaded the library."""
    return [type(structure.__name__, (Structure,), {}) for structure in STRUCTURES]


def declared_fields() -> dict[str, list[str]]:
    """Return the fields of every structure in ``arguments.h``, by a simple reading of C."""
    text = re.sub(r"/\*.*?\*/", "", read_sources()["arguments.h"].decode(), flags=re.DOTALL)
    blocks = re.findall(r"typedef struct \{(.*?)\} (\w+);", text, flags=re.DOTALL)
    return {name: re.findall(r"(\w+)\s*[,;]", block) for block, name in blocks}


def test_the_table_lists_every_field_of_every_structure() -> None:
    assert {s.__name__: [name for name, _ in s._fields_] for s in STRUCTURES} == declared_fields()


def test_structures_follow_a_changed_header(tmp_path: Path) -> None:
    path = compile_changed(tmp_path, "arguments.h", r"float eps;", "double eps;")
    structures = undefined_structures()
    define_structures(CDLL(str(path)), structures)
    (decoder,) = (structure for structure in structures if structure.__name__ == "DecoderArguments")
    assert dict(decoder._fields_)["eps"] is c_double


@pytest.mark.parametrize(
    ("name", "pattern", "replacement", "expected"),
    [
        pytest.param(
            "layout.c", r"F\(gain\) F\(shift\)", "F(gain)", "GrnParameters has 48 bytes in C, 40 by", id="last missing"
        ),
        pytest.param("layout.c", r"F\(d\) F\(out\)", "F(d)", r"GrnArguments has \d+ bytes in C, ", id="middle missing"),
        pytest.param(
            "layout.c", r"F\(weight\) F\(bias\)", "F(bias) F(weight)", "PackedMap.bias is not at byte 0", id="order"
        ),
        pytest.param("layout.c", r"TYPE\(float\)", 'float : "double"', "Dropout has 16 bytes in C, 24 by", id="type"),
        pytest.param(
            "layout.c", r"#define S OrderArguments.*?#undef S", "", "OrderArguments is absent in C", id="structure"
        ),
        pytest.param("arguments.h", "may_fold;", "may_fold, more, most;", "GrnArguments has 240 bytes", id="new"),
    ],
)
def test_a_library_with_a_wrong_table_is_refused(
    tmp_path: Path, name: str, pattern: str, replacement: str, expected: str
) -> None:
    path = compile_changed(tmp_path, name, pattern, replacement)
    with pytest.raises(ValueError, match=expected):
        define_structures(CDLL(str(path)), undefined_structures())
    with pytest.warns(RuntimeWarning, match="the compiled kernels are not used"):
        assert load_checked(path) is None


def test_another_library_in_the_same_process_is_not_computed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compile_changed(tmp_path, "arguments.h", r"float eps;", "double eps;")
    monkeypatch.setattr(kernel_library, "_build", lambda folder, compiler: path)
    with pytest.warns(RuntimeWarning, match="has other fields than in the library that was loaded before"):
        assert library.__wrapped__() is None


def test_an_argument_that_is_no_field_is_an_error() -> None:
    with pytest.raises(AssertionError, match="LstmArguments has no fields rows"):
        call("lstm_forward", LstmArguments(rows=1))


def test_a_library_without_a_table_of_layouts_is_refused(tmp_path: Path) -> None:
    sources = {"empty.c": b"int fusecast_nothing(void) { return 0; }"}
    path = tmp_path / "kernels-old.so"
    assert compile_sources(shutil.which("gcc") or "cc", sources, path)
    assert isinstance(CDLL(str(path)), CDLL)
    with pytest.warns(RuntimeWarning, match="the compiled kernels are not used"):
        assert load_checked(path) is None
