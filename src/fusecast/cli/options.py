"""How options of the command line become options of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import typer
import yaml

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def names(value: str | None) -> list[str] | None:
    """Split ``a,b`` into its names; None stays None, and an empty text is an empty list."""
    if value is None:
        return None
    return [name.strip() for name in value.split(",") if name.strip()]


def numbers(value: str | None) -> list[float] | None:
    """Split ``0.1,0.5`` into its numbers."""
    parts = names(value)
    try:
        return None if parts is None else [float(part) for part in parts]
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no list of numbers such as 0.1,0.5,0.9") from None


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the options that were given, sections that are empty left out."""
    kept = {name: given(value) if isinstance(value, Mapping) else value for name, value in options.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}}


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Turn ``section.name=value`` texts into nested options; values are read as YAML."""
    result: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise typer.BadParameter(f"{text!r} is not of the form section.name=value")
        *sections, name = path.strip().split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{text!r} is an option of {section!r}, which was given a value itself")
        place[name] = plain(value)
    return result


def plain(text: str) -> Any:
    """Read a value as YAML; also ``1e-3``, which YAML takes for a text."""
    try:
        value = yaml.safe_load(text)
        return float(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value
    except yaml.YAMLError:
        raise typer.BadParameter(f"{text!r} cannot be read as YAML") from None


def changes(texts: Sequence[str]) -> dict[str, str | list[str]]:
    """Turn ``column=value`` and ``column=[a,b,c]`` into values by column: text, whose meaning the column knows.

    YAML would take a category ``no`` for a falsehood, and ``007`` for a number.
    """
    result: dict[str, str | list[str]] = {}
    for text in texts:
        column, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not column:
            raise typer.BadParameter(f"{text!r} is not of the form column=value")
        if value.startswith("[") and value.endswith("]"):
            result[column] = [_bare(part.strip()) for part in value[1:-1].split(",")]
        else:
            result[column] = _bare(value)
    return result


def _bare(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
