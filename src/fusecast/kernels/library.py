"""Compile the kernels once a machine, load them, and call them; without a compiler torch alone computes everything."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ctypes import POINTER, Structure
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from fusecast.errors.base import FusecastWarning, warn
from fusecast.kernels.bindings import define_structures

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-std=gnu11", "-fopenmp", "-fPIC", "-shared")

SWITCH = "FUSECAST_KERNELS"
"""Environment variable: ``0`` switches the kernels off, ``1`` (the default) uses them where they can be built."""

PLAIN_TYPES = (Tensor, nn.Parameter)
"""Tensors that are numbers in memory, not the fakes and wrappers of exporters and of quantisation."""

PLAIN_LAYERS = (nn.Linear, nn.LayerNorm, nn.Dropout, nn.Identity, nn.LSTM, nn.ModuleDict)
"""Layers of torch in the network; a subclass may compute something else."""

CHECKSUM_BYTES = 32

DEFINING = Lock()
"""Held while structures are defined: the first calls of several threads may all load the library."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they are switched off or cannot be built; decided once a process.

    Where they cannot be built, a FusecastWarning says why.
    """
    if os.environ.get(SWITCH, "1") == "0" or platform.system() != "Linux":
        return None
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    try:
        with _open_cache() as folder:
            path = _build(folder, compiler)
            if path is not None:
                _share_openmp()
                return load_checked(path)
            problem = f"{compiler} cannot compile them" if compiler else "no C compiler (cc, gcc, clang) is on the PATH"
            cure = "install gcc"
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # such as a home folder that is read only
        problem, cure = str(error), "set XDG_CACHE_HOME to a folder that can be written to"
    said = f"the kernels in C are not used, torch computes the same more slowly: {problem}"
    warn(FusecastWarning(f"{said}\nHint: {cure}, or {SWITCH}=0 to do without and without this note"))
    return None


def load_checked(path: Path) -> ctypes.CDLL | None:
    """Load a compiled library; return None, with a RuntimeWarning, where the structures it reports cannot be right."""
    loaded = ctypes.CDLL(str(path))
    try:
        with DEFINING:
            define_structures(loaded)
    except (AttributeError, LookupError, ValueError) as error:
        warnings.warn(
            f"the compiled kernels are not used, torch computes instead: their structures are not understood: {error}\n"
            f"Hint: please report this, and delete {path.resolve()}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return loaded


def call(name: str, arguments: Structure) -> None:
    """Call ``fusecast_<name>``, while other Python threads run; raise MemoryError where it got no memory."""
    loaded = library()
    assert loaded is not None
    assert not vars(arguments), f"{type(arguments).__name__} has no fields {', '.join(vars(arguments))}"
    function = getattr(loaded, f"fusecast_{name}")
    function.argtypes, function.restype = [POINTER(type(arguments))], ctypes.c_int
    if function(ctypes.byref(arguments)):
        raise MemoryError(f"no memory for the kernel {name}")


def kernels_supported(layers: Iterable[nn.Module], *tensors: Tensor | None) -> bool:
    """Return whether a kernel may compute on these tensors what the layers would: without calling any of them.

    All is float32 on the CPU, nothing is traced or transformed by torch.func, a library is loaded, and the layers are
    as :func:`are_plain` has it.
    """
    return (
        all(t is None or (t.dtype is torch.float32 and t.is_cpu and type(t) in PLAIN_TYPES) for t in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch._C._are_functorch_transforms_active()  # noqa: SLF001  as torch.autograd.Function does
        and library() is not None
        and are_plain(layers, for_kernels=True)
    )


def are_plain(layers: Iterable[nn.Module], *, for_kernels: bool = False) -> bool:
    """Return whether calling these layers, and those inside, would do nothing beyond what their classes define.

    So without hooks, pruned, parametrised or quantised weights, layers put in their place, and replaced methods. With
    `for_kernels`, all parameters are such that the kernels can read them. True while torch compiles, which must not
    depend on it.
    """
    if torch.compiler.is_compiling():
        return True
    return not _has_any_global_hook() and all(_is_plain(layer, for_kernels) for layer in layers)


def _is_plain(layer: nn.Module, for_kernels: bool) -> bool:
    own = layer.__dict__  # attributes of modules are found slowly
    if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
        return False
    if "forward" in own or not _is_known(type(layer)):  # type: ignore[arg-type]  # classes are hashable
        return False
    if for_kernels:
        for tensor in own["_parameters"].values():
            if tensor is not None and (
                tensor.dtype is not torch.float32 or not tensor.is_cpu or type(tensor) not in PLAIN_TYPES
            ):
                return False
    for child in own["_modules"].values():  # noqa: SIM110  all() takes twice as long
        if child is not None and not _is_plain(child, for_kernels):
            return False
    return True


@cache
def _is_known(kind: type) -> bool:
    return kind in PLAIN_LAYERS or kind.__module__.startswith("fusecast.")


def read_sources() -> dict[str, bytes]:
    """Read the C files, by name."""
    folder = files("fusecast.kernels") / "csrc"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith((".c", ".h"))}


def compile_sources(compiler: str, sources: dict[str, bytes], path: Path) -> bool:
    """Compile to `path`, with a checksum appended; return whether that worked.

    Several processes may do so at once: each in a folder of its own, and the last replaces the file by an equal one.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        for name, content in sources.items():
            Path(scratch, name).write_bytes(content)
        result = Path(scratch, path.name)
        units = [str(Path(scratch, name)) for name in sorted(sources) if name.endswith(".c")]
        command = [compiler, *FLAGS, *units, "-o", str(result)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)  # noqa: S603  a fixed command
        if done.returncode == 0:
            content = result.read_bytes()
            result.write_bytes(content + hashlib.sha256(content).digest())  # loaders ignore bytes after the end
            result.chmod(0o700)  # whatever the umask
            result.replace(path)
        return done.returncode == 0


@contextmanager
def _open_cache() -> Iterator[Path]:
    """Yield the user's cache folder, by a path that stays with the checked folder wherever that is moved.

    A library in it runs as this user. Where the folder is not the user's own, or others can write to it, a temporary
    one takes its place, with a RuntimeWarning, until the library is loaded.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fusecast" / "kernels"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            is_trusted = _is_own(os.fstat(descriptor))
        except OSError:  # a symbolic link, a file, or a folder that only others may read
            is_trusted = False
        if is_trusted:
            yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
            return
        warnings.warn(
            f"the compiled kernels are not taken from {folder}: it is no folder of this user alone, and others might "
            "change them; each process compiles its own, which takes some seconds\n"
            "Hint: let only its owner write to it, or set XDG_CACHE_HOME to a folder of your own",
            RuntimeWarning,
            stacklevel=2,
        )
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fusecast-kernels-")))


def _build(folder: Path, compiler: str | None) -> Path | None:
    """Return the path of the library in a folder, compiled first where that has none for these sources.

    None where there is no compiler; the name depends on the processor, too.
    """
    sources = read_sources()
    digest = hashlib.sha256(repr((FLAGS, _processor(), sorted(sources.items()))).encode()).hexdigest()[:16]
    path = folder / f"kernels-{digest}.so"
    if _is_intact(path):
        return path
    return path if compiler is not None and compile_sources(compiler, sources, path) else None


def _is_own(status: os.stat_result) -> bool:
    """Whether a file or folder is this user's, and no other user can change it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_intact(path: Path) -> bool:
    """Whether the library exists, is the user's own and has its checksum: loading a truncated one kills the process."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if not (stat.S_ISREG(status.st_mode) and _is_own(status)):
        return False
    content = path.read_bytes()
    return hashlib.sha256(content[:-CHECKSUM_BYTES]).digest() == content[-CHECKSUM_BYTES:]


def _processor() -> str:
    """Describe what ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    kinds = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return platform.machine() + "".join(sorted(kinds))


def _share_openmp() -> None:
    """Load the OpenMP of torch globally, so that the kernels use its threads: a second one would start its own."""
    for path in sorted(Path(torch.__file__).parent.joinpath("lib").glob("libgomp*.so*")):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
