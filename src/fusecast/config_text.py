"""The text of a file with options: YAML or JSON, and the checksum with which fusecast writes its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusecast.errors import ConfigError
from fusecast.io.atomic import compute_checksum
from fusecast.io.documents import MAX_YAML_BYTES, decode, parse_json, parse_yaml, read_bytes

FIRST_LINE = "# Written by fusecast, with a checksum in the last line. To edit this file, delete both lines."
CHECKSUM_MARK, CHECKSUM_LENGTH = "# sha256: ", 64


def read_options(path: Path) -> dict[str, Any]:
    """Read the options of a YAML or JSON file, unchecked.

    A ConfigError is raised where it holds something else, or was written by :meth:`fusecast.config.RunConfig.write` and
    has been cut short or changed since.
    """
    try:
        text = decode(read_bytes(path, MAX_YAML_BYTES)).replace("\r\n", "\n").replace("\r", "\n")
        check_checksum(path, text)
        values = parse_json(text) if path.suffix == ".json" else parse_yaml(text)
    except (OSError, ValueError) as error:
        raise ConfigError.unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError.unreadable(path, "it holds no options, but " + type(values).__name__)
    return values or {}


def check_checksum(path: Path, text: str) -> None:
    """Raise a ConfigError if a text with a checksum is not as it was written; others, written by hand, have none."""
    before, mark, checksum = text.rpartition(f"\n{CHECKSUM_MARK}")
    has_first_line = text != "" and text.startswith(FIRST_LINE[: len(text)])
    if not has_first_line and not mark:
        return
    if len(checksum.rstrip() if mark else "") < CHECKSUM_LENGTH:
        raise ConfigError.cut_short(path)
    if not has_first_line or checksum.strip() != compute_checksum(f"{before}\n".encode()):
        raise ConfigError.changed(path)
