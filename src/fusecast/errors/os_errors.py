"""Report errors of the operating system, such as a full disk, as errors of fusecast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fusecast.errors.artifact import ArtifactError


@contextmanager
def translate_os_errors() -> Iterator[None]:
    """Raise an ArtifactError with a hint in place of an OSError that names a file.

    Raises
    ------
    ArtifactError
        Where the operating system refuses to read or write a file: no permission, no space, no such folder.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        raise ArtifactError.refused_by_system(error.filename, error.strerror) from error
