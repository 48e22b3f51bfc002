"""Text files with a checksum in their last line, so that one that was cut short or changed is recognised."""

from __future__ import annotations

from pathlib import Path

from fusecast.errors import ConfigError
from fusecast.io.atomic import compute_checksum

FIRST_LINE = "# Written by fusecast, with a checksum in the last line. To edit this file, delete both lines."
CHECKSUM_MARK, CHECKSUM_LENGTH = "# sha256: ", 64


def add_checksum(text: str) -> str:
    """Return a text of whole lines between a first line that says so and its checksum."""
    lines = f"{FIRST_LINE}\n{text}"
    return f"{lines}{CHECKSUM_MARK}{compute_checksum(lines.encode())}\n"


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
