"""Read files of plain values, JSON and YAML, that may be damaged or hostile: bounded in size, depth and numbers.

What is wrong is an OSError or a ValueError in words, to which the readers of single files add the name and a hint.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml

from fusecast.errors.base import shorten

Kind = TypeVar("Kind", str, int, float, bool, dict[str, Any], list[Any])

MAX_BYTES = 2**30
"""Bytes of a JSON file at most: the names and scales of some million series."""
MAX_YAML_BYTES = 2**20
"""Bytes of a YAML file at most: the names of some ten thousand columns."""
MAX_DEPTH = 40
"""Lists and mappings within each other at most."""


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a file; see :func:`check_file` for the errors."""
    check_file(path, max_bytes)
    return path.read_bytes()


def check_file(path: Path, max_bytes: int = MAX_BYTES) -> int:
    """Return the size of a file; raise an OSError or a ValueError where it is none, or larger than `max_bytes`."""
    status = path.stat()  # opening a pipe would wait for its other end
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is a folder, not a file" if path.is_dir() else "it is a pipe or a device, not a file")
    if status.st_size > max_bytes:
        raise ValueError(f"it has {status.st_size:,} bytes, and at most {max_bytes:,} are read")
    return status.st_size


def parse_json(content: bytes | str) -> Any:
    """Parse JSON as its standard defines it, in UTF-8; raise a ValueError in words.

    Names that occur twice, NaN, infinite numbers, and whole numbers beyond 64 bits are refused, as is deep nesting.
    """
    try:
        values = json.loads(decode(content), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_values(values)
    return values


def parse_yaml(content: bytes | str) -> Any:
    """Parse YAML, in which ``1e-3`` is a number as in YAML 1.2; raise a ValueError in words.

    Beside what :func:`parse_json` refuses there are neither tags nor aliases: a few lines with them can stand for
    terabytes.
    """
    try:
        values = yaml.load(decode(content), Loader=_YamlLoader)  # noqa: S506  a subclass of SafeLoader
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML ({error})") from None
    except OverflowError as error:  # of a date
        raise ValueError(f"it holds a date that does not exist ({error})") from None
    check_values(values)
    return values


def check_values(values: Any) -> None:
    """Raise a ValueError where plain values are nested deeply, or hold NaN, an infinite or a huge number."""
    level = [values]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if value is None or isinstance(value, str):  # most values; the check of a mapping is slow
                continue
            if isinstance(value, float):
                if not math.isfinite(value):
                    raise ValueError(f"it holds {value}, which is no number, or one that is too large")
            elif isinstance(value, int):
                if value.bit_length() > 63:
                    raise ValueError("it holds a whole number of more than 64 bits")
            elif isinstance(value, list | tuple):
                below += value
            elif isinstance(value, Mapping):
                below += (*value, *value.values())
        level = below
        if not level:
            return
    raise ValueError(_TOO_DEEP)


@overload
def take(values: Mapping[str, Any], name: str, kind: type[Kind], items: type | None = None) -> Kind: ...


@overload
def take(
    values: Mapping[str, Any], name: str, kind: type[Kind], items: type | None = None, *, optional: bool
) -> Kind | None: ...


def take(
    values: Mapping[str, Any], name: str, kind: type[Kind], items: type | None = None, *, optional: bool = False
) -> Kind | None:
    """Return the value of a name; raise a ValueError in words where it is missing, or not of a kind.

    `items` is the kind of all values of a list or mapping. A whole number is a number too, a truth value is none; None
    is returned where the value is None and `optional`.
    """
    if name not in values:
        raise ValueError(f"it lacks {name!r}")
    value: Any = values[name]
    if value is None and optional:
        return None
    if not _is_kind(value, kind):
        raise ValueError(f"{name!r} must be {_KINDS[kind]}, not {shorten(value)}")
    if items is not None:
        for item in value.values() if isinstance(value, dict) else value:
            if not _is_kind(item, items):
                raise ValueError(f"{name!r} must hold {_KINDS[items]} at each place, not {shorten(item)}")
    return value  # type: ignore[no-any-return]


_KINDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


def _is_kind(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


_TOO_DEEP = f"its lists and mappings are nested more than {MAX_DEPTH} deep"


def decode(content: bytes | str) -> str:
    """Return a text in UTF-8, without its byte order mark; raise a ValueError where it is none."""
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start:,})") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it holds {next(name for name in names if names.count(name) > 1)!r} twice")
    return values


class _YamlLoader(yaml.SafeLoader):
    """Refuses tags, aliases and names that occur twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None or event.tag not in (None, "!"):
            problem = "anchors, aliases and tags (&, *, !) are not read: write the values themselves"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        values = super().construct_mapping(node, deep)
        if len(values) < len(node.value):
            names = [self.construct_object(name) for name, _ in node.value]
            repeated = next(name for name in names if names.count(name) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"{repeated!r} occurs twice", node.start_mark)
        return values


EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
"""Numbers that PyYAML, which follows YAML 1.1, would take for texts."""
_YamlLoader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))


class YamlDumper(yaml.SafeDumper):
    """Quotes texts that the loader would take for numbers."""


YamlDumper.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))
