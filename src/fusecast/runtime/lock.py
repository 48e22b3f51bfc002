"""A lock on a run's folder, so that one run at a time trains into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusecast.errors import TrainingError
from fusecast.runtime.distributed import is_first_process


class FolderLock:
    """What a run holds while it trains into a folder; without a `handle` it holds nothing."""

    def __init__(self, folder: Path, handle: int | None = None) -> None:
        self.folder = folder.absolute()
        self._handle = handle

    def is_in_place(self) -> bool:
        """Whether the locked folder still is the one at its path."""
        try:
            return self._handle is None or os.path.samestat(os.fstat(self._handle), self.folder.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Let other runs in."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def require_in_place(self) -> None:
        """Raise a TrainingError where the folder was moved, removed or replaced: nothing may be written there."""
        if not self.is_in_place():
            raise TrainingError.folder_replaced(self.folder)


@contextmanager
def lock_folder(folder: Path) -> Iterator[FolderLock]:
    """Keep other runs out of a folder, which is created where it does not exist; the processes of one run share it.

    The lock is the operating system's, on the folder itself: it leaves no file, and ends with the process however that
    dies. A folder that is removed takes its lock along, so that its run has to call ``require_in_place`` before it
    writes. Systems (Windows) and file systems without such locks keep no other run out. A TrainingError is raised where
    another run holds the lock.
    """
    if os.name == "nt" or not is_first_process():
        yield FolderLock(folder)
        return
    lock = FolderLock(folder, _open_locked(folder))
    while not lock.is_in_place():  # removed before it was locked
        lock.release()
        lock = FolderLock(folder, _open_locked(folder))
    try:
        yield lock
    finally:
        lock.release()


def _open_locked(folder: Path) -> int:
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise TrainingError.folder_in_use(folder) from None
    except OSError:  # a file system that has no locks
        pass
    return handle
