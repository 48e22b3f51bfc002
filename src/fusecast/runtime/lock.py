"""A lock on a run's folder, so that one run at a time trains into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusecast.errors import TrainingError
from fusecast.runtime.distributed import is_first_process


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is created where it does not exist; the processes of one run share it.

    The lock is the operating system's, on the folder itself: it leaves no file, and ends with the process however that
    dies. Systems (Windows) and file systems without such locks keep no other run out. A TrainingError is raised where
    another run holds the lock.
    """
    if os.name == "nt" or not is_first_process():
        yield
        return
    import fcntl

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
