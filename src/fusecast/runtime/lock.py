"""One process at a time trains into a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusecast.errors import TrainingError
from fusecast.runtime.distributed import is_first_process


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made where it does not exist; the processes of one run share it.

    The lock is the system's, on the folder itself: it leaves no file, and ends with the process however that dies.
    Systems and file systems without such locks keep nobody out.

    Raises
    ------
    TrainingError
        If another run is in there.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if not is_first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError.folder_in_use(folder) from None
        except OSError:  # a file system that has no locks
            pass
        yield
    finally:
        os.close(handle)
