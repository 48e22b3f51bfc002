"""Compile the kernels once a machine and load them; without a compiler, say so quietly and do without."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

SOURCES = ("matmul.c", "rows.c", "selection.c", "lstm.c", "attention.c", "decode.c", "windows.c", "adam.c")
HEADERS = ("simd.h", "matmul.h", "gated.h", "entries.h", "few.h")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-std=gnu11", "-fopenmp", "-fPIC", "-shared")

SWITCH = "FUSECAST_KERNELS"
"""Environment variable: ``0`` does without the kernels, ``1`` (the default) uses them where they can be built."""


@cache
def library() -> ctypes.CDLL | None:
    """Give the compiled kernels, or None where they are switched off or cannot be built; decided once a process."""
    if os.environ.get(SWITCH, "1") == "0" or platform.system() != "Linux":
        return None
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    built = _built(compiler)
    if built is None:
        return None
    _share_openmp()
    try:
        return ctypes.CDLL(str(built))
    except OSError:
        return None


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``fusecast/kernels`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fusecast" / "kernels"


def _built(compiler: str | None) -> Path | None:
    """Give the library, compiled first where the cache has none for these sources on this processor."""
    folder = files("fusecast.kernels") / "csrc"
    text = {name: folder.joinpath(name).read_bytes() for name in (*HEADERS, *SOURCES)}
    digest = hashlib.sha256(repr((FLAGS, _processor(), sorted(text.items()))).encode()).hexdigest()[:16]
    try:
        cached = cache_folder()
        cached.mkdir(mode=0o700, parents=True, exist_ok=True)
        built = cached / f"kernels-{digest}.so"
        if _whole(built):
            return built
        return built if compiler is not None and _compile(compiler, text, built) else None
    except (OSError, RuntimeError, subprocess.SubprocessError):  # no home, or one that cannot be written to
        return None


def _compile(compiler: str, text: dict[str, bytes], built: Path) -> bool:
    """Compile in a folder of this process; several may do so at once, and the last to finish puts the same in place."""
    with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
        for name, content in text.items():
            Path(scratch, name).write_bytes(content)
        made = Path(scratch, built.name)
        command = [compiler, *FLAGS, *(str(Path(scratch, name)) for name in SOURCES), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)  # noqa: S603  a fixed command
        if done.returncode == 0:
            content = made.read_bytes()
            made.write_bytes(content + hashlib.sha256(content).digest())  # a loader does not look behind the end
            made.replace(built)
        return done.returncode == 0


def _whole(built: Path) -> bool:
    """Whether the library is there and undamaged: loading one that was cut off kills the process."""
    if not built.exists():
        return False
    content = built.read_bytes()
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _processor() -> str:
    """Describe what ``-march=native`` looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    kinds = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return platform.machine() + "".join(sorted(kinds))


def _share_openmp() -> None:
    """Make the OpenMP of torch visible to the kernels: a second one would have threads of its own."""
    import torch

    for path in sorted(Path(torch.__file__).parent.joinpath("lib").glob("libgomp*.so*")):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
