"""Files of ``torch.save``, checked before torch reads them: it compares no checksum, and unpacks whatever there is."""

from __future__ import annotations

from pathlib import Path
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

MAGIC = b"PK\x03\x04"
"""The first bytes of an archive. Files by torch before 1.6 begin otherwise, and hold no checksums."""

ALLOCATION = b"\nbytearray\n"
"""The one call allowed by torch's restricted unpickler that fills any amount of memory."""

FOLDER = 0x10
"""The attribute of folders."""

CHUNK = 1 << 20


class ExcessiveMemory(BadZipFile):
    """Loading would take more memory than the file has bytes."""


def check_archive(path: Path) -> None:
    """Raise a BadZipFile where bits have changed, or where loading would take more memory than the file has bytes.

    Of a file that is no archive only the second is checked. Where the structure of an archive makes no sense, zipfile
    raises other errors, too.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:  # by which torch decides, too
            _read_to_end(file)
            return
    with ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != ZIP_STORED or part.file_size != part.compress_size for part in parts):
            raise BadZipFile("it is compressed, as no file of torch is, and was not unpacked")
        if any(part.external_attr & FOLDER and part.file_size for part in parts):
            raise BadZipFile("a part with content is marked as a folder")  # of which torch would read nothing
        size = sum(part.file_size for part in parts)
        if size > path.stat().st_size or len(set(archive.namelist())) < len(parts):
            raise BadZipFile("its parts overlap, and were not unpacked")
        for part in parts:
            with archive.open(part) as content:
                _read_to_end(content)


def _read_to_end(file: IO[bytes]) -> None:
    """Read everything, at whose end zipfile compares checksums."""
    before = b""
    while chunk := file.read(CHUNK):
        if ALLOCATION in before + chunk:
            raise ExcessiveMemory("it would take more memory than the file has bytes, and was not loaded")
        before = chunk[-len(ALLOCATION) :]
