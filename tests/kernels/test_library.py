"""The library is compiled, cached and checked, or done without."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from ctypes import CDLL, Structure, c_double
from pathlib import Path

import pytest
from tests.helpers.python_server import run_python

from fusecast.kernels import library as kernel_library
from fusecast.kernels.bindings import STRUCTURES, LstmArguments, define_structures
from fusecast.kernels.library import call, compile_sources, library, load_checked, read_sources

pytestmark = pytest.mark.skipif(library() is None, reason="no C compiler here, or FUSECAST_KERNELS=0")

PROGRAM = """
import warnings
import torch
from fusecast.errors import FusecastWarning
warnings.simplefilter("error")
warnings.simplefilter("always", FusecastWarning)
said = []
warnings.showwarning = lambda message, *others: said.append(str(message).replace("\\n", " "))
from fusecast.model import ModelConfig, TemporalFusionTransformer, example_batch
from fusecast.kernels.library import library
config = ModelConfig(horizon=2, lookback=3, known_categories=(3,), hidden_size=8, num_heads=2)
torch.manual_seed(0)
network, batch = TemporalFusionTransformer(config).eval(), example_batch(config, 2)
print(library() is not None, network(batch).quantiles.sum().item(), *said, sep="\\n")
"""


def run_program(**environment: str) -> tuple[str, float, *tuple[str, ...]]:
    result = run_python("-c", PROGRAM, env={**os.environ, **environment})
    assert (result.returncode, result.stderr) == (0, "")
    used, value, *said = result.stdout.splitlines()
    return used, float(value), *said


def test_without_kernels_the_network_computes_the_same_and_why_there_are_none_is_said_once(tmp_path: Path) -> None:
    used, value = run_program()
    assert used == "True"
    assert run_program(FUSECAST_KERNELS="0") == ("False", pytest.approx(value, abs=1e-5))
    nowhere = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
    for environment, reason in (
        ({**nowhere, "CC": "/nonexistent"}, "(cc, gcc, clang) is on the PATH Hint: install gcc"),
        ({**nowhere, "CC": "/bin/false"}, "/bin/false cannot compile them"),
        ({"XDG_CACHE_HOME": "/proc/nowhere"}, "No such file or directory: '/proc/nowhere' Hint: set XDG_CACHE_HOME"),
    ):
        used, other, *said = run_program(**environment)
        assert (used, other) == ("False", pytest.approx(value, abs=1e-5))
        assert len(said) == 1
        assert reason in said[0]


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
    ran = run_python("-c", program)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    path = tmp_path_factory.mktemp("whole") / "kernels.so"
    assert compile_sources(shutil.which("gcc") or "cc", read_sources(), path)
    return path


@pytest.fixture
def compiler(tmp_path: Path, whole: Path) -> Path:
    """A compiler that only copies, and counts how often."""
    path = tmp_path / "compiler"
    path.write_text(f'#!/bin/sh\nfor last; do :; done\ncp {whole} "$last"\necho once >> {tmp_path}/compiled\n')
    path.chmod(0o700)
    return path


def test_a_damaged_library_is_compiled_anew(tmp_path: Path, compiler: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "CC": str(compiler)}
    for _ in range(2):
        assert run_program(**environment)[0] == "True"
        assert (tmp_path / "compiled").read_text() == "once\n"
    (built,) = (tmp_path / "fusecast" / "kernels").iterdir()
    whole = built.read_bytes()
    built.write_bytes(whole[:1000])
    assert run_program(**environment)[0] == "True"
    assert built.read_bytes() == whole
    assert (tmp_path / "compiled").read_text() == "once\nonce\n"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: Path) -> Path:
    """A library in a cache folder of its own, of a name of its own, and a compiler that only copies."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    flags = (*kernel_library.FLAGS, f"-DNAME={tmp_path.name}")  # loaders do not load a library of the same name twice
    monkeypatch.setattr(kernel_library, "FLAGS", flags)
    with kernel_library._open_cache() as folder:
        name = kernel_library._build(folder, str(compiler)).name
    return tmp_path / "cache" / "fusecast" / "kernels" / name


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
    tmp_path: Path, cached: Path, change: Callable[[Path, Path], None], is_compiled_anew: bool
) -> None:
    folder, sign, built = cached.parent, tmp_path / "executed", cached.read_bytes()
    plant(cached, sign)
    planted = cached.read_bytes()
    change(folder, cached)
    before = folder.stat().st_mode
    expected = pytest.warns(RuntimeWarning, match="the compiled kernels are not taken from .*\n?.*Hint: let only its")
    with nullcontext() if is_compiled_anew else expected:
        assert library.__wrapped__() is not None
    assert not sign.exists()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert cached.read_bytes() == (built if is_compiled_anew else planted)
    assert folder.stat().st_mode == before


def test_a_planted_library_does_run_where_the_cache_is_trusted(tmp_path: Path, cached: Path) -> None:
    plant(cached, tmp_path / "executed")
    with pytest.warns(RuntimeWarning, match="are not used"):
        assert library.__wrapped__() is None
    assert (tmp_path / "executed").exists()


def test_the_cache_is_the_users_own_whatever_the_umask(cached: Path) -> None:
    shutil.rmtree(cached.parent.parent)
    umask = os.umask(0)
    try:
        assert library.__wrapped__() is not None
    finally:
        os.umask(umask)
    assert (cached.parent.stat().st_mode | cached.stat().st_mode) & 0o022 == 0


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
