"""Atomic writes: whenever the power fails, a path holds its old content or its new content, whole. And checksums."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, to write the new content to; on success it replaces `path`.

    The folder is created where it does not exist. The content is flushed to the disk before the file is renamed.
    After an error the temporary file is removed, and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all."""
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 file whole, or not at all."""
    write_bytes_atomically(path, text.encode())


def compute_checksum(content: bytes | Path) -> str:
    """Return the SHA-256 of bytes, or of the content of a file, as hexadecimal text."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
