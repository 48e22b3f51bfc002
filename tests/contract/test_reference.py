"""The public reference: every name has a place in it, and a docstring that says what a caller needs to know."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from torch import nn

import fusecast
from fusecast import errors
from fusecast.errors import FusecastError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "reference").glob("*.md"))]
PATHS = [path for page in PAGES for path in re.findall(r"^::: (\S+)", page, flags=re.MULTILINE)]
COMMENTED = re.compile(r"^    (\w+): .+?  # (?!noqa|type:)\S", flags=re.MULTILINE)
WITH_DOCSTRING = re.compile(r'^    (\w+): .+\n    """', flags=re.MULTILINE)
HOOKS = re.compile(r"\.(on_\w+|\w+_step|setup|teardown|(load_)?state_dict|transfer_batch_to_device)$")
"""Methods that Lightning calls, whose arguments are Lightning's."""
SIZES = re.compile(r"d|d_\w+|num_\w+|has_\w+|dropout|cardinalities")
"""Arguments of the parts of the network that say what they are."""


def find(path: str) -> Any:
    """Return the object of a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def own_functions(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the public methods and properties that a class itself defines, and those that construct it."""
    for name, member in vars(cls).items():
        function = next(
            (getattr(member, kind) for kind in ("fget", "func", "__func__") if hasattr(member, kind)), member
        )
        is_public = not name.startswith("_") or name in {"__init__", "__post_init__"}
        if isinstance(function, FunctionType) and is_public and function.__code__.co_filename.endswith(".py"):
            yield name, function


NAMES = {path: find(path) for path in PATHS}
CLASSES = {path: value for path, value in NAMES.items() if isinstance(value, type)}
PARTS = [path for path, cls in CLASSES.items() if issubclass(cls, nn.Module) and ".model." in path]
FUNCTIONS: dict[str, tuple[Callable[..., Any], type | None]] = {
    **{path: (value, None) for path, value in NAMES.items() if isinstance(value, FunctionType)},
    **{
        f"{path}.{name}": (function, cls)
        for path, cls in CLASSES.items()
        if not cls.__module__.startswith("fusecast.errors")  # whose methods make the errors, and are the library's own
        for name, function in own_functions(cls)
    },
}


def text_of(path: str) -> str:
    """Return the docstring of a function, and that of its class."""
    function, cls = FUNCTIONS[path]
    return f"{function.__doc__ or ''}\n{(cls and cls.__doc__) or ''}"


def is_named(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def test_every_public_name_has_one_place() -> None:
    public = [getattr(fusecast, name) for name in fusecast.__all__ if name != "__version__"]
    places = list(NAMES.values())
    assert [name for name in public if places.count(name) != 1] == []
    assert len(PATHS) == len(set(PATHS))


def test_everything_has_a_docstring() -> None:
    own = [path for path in FUNCTIONS if not path.endswith("__")]
    assert len(own) > 100
    assert [path for path in NAMES if not vars(NAMES[path]).get("__doc__", NAMES[path].__doc__)] == []
    assert [path for path in own if not FUNCTIONS[path][0].__doc__] == []


def test_docstrings_name_the_errors_that_are_raised() -> None:
    """Those that a function raises itself, by their own name or that of a more general one."""
    missing = []
    for path, (function, _) in FUNCTIONS.items():
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                error = getattr(errors, re.split(r"[.(]", ast.unparse(node.exc))[0], None)
                if isinstance(error, type) and issubclass(error, FusecastError):
                    kinds = [kind.__name__ for kind in error.__mro__ if issubclass(kind, FusecastError)]
                    if not any(is_named(kind, text_of(path)) for kind in kinds):
                        missing.append(f"{path}: {error.__name__}")
    assert not missing, "\n".join(missing)


def test_docstrings_name_the_arguments_whose_types_do_not_say_what_they_are() -> None:
    unknown = []
    for path, (function, cls) in FUNCTIONS.items():
        if HOOKS.search(path):
            continue
        text = text_of(path)
        for argument in list(inspect.signature(function).parameters.values())[0 if cls is None else 1 :]:
            says = argument.name.replace("_", "") in str(argument.annotation).lower()  # `config: RunConfig`
            says |= path.rpartition(".")[0] in PARTS and SIZES.fullmatch(argument.name) is not None
            says |= cls is not None and argument.name in inspect.get_annotations(cls)  # described below
            if not says and not is_named(argument.name, text):
                unknown.append(f"{path}: {argument.name}")
    assert not unknown, "\n".join(unknown)


@pytest.mark.parametrize("path", CLASSES)
def test_the_fields_of_a_class_are_described(path: str) -> None:
    cls = CLASSES[path]
    source = inspect.getsource(cls)
    described = {*COMMENTED.findall(source), *WITH_DOCSTRING.findall(source)}
    fields = [name for name in inspect.get_annotations(cls) if not name.startswith("_")]
    assert [name for name in fields if name not in described and not is_named(name, cls.__doc__ or "")] == []


def test_the_parts_of_the_network_name_their_sources() -> None:
    source = re.compile(r"\b(equation|section)s? \d|not in the paper")
    assert len(PARTS) > 10
    assert [path for path in PARTS if not source.search(CLASSES[path].__doc__ or "")] == []


def test_the_parts_of_the_network_say_their_shapes() -> None:
    passes = [f"{path}.forward" for path in PARTS if f"{path}.forward" in FUNCTIONS]
    takes_tensors = [path for path in passes if "Tensor" in str(inspect.signature(FUNCTIONS[path][0]).parameters)]
    assert len(takes_tensors) > 5
    assert [path for path in takes_tensors if "[" not in text_of(path)] == []
