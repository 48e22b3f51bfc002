"""Atomic writes: whenever a process is killed, the power fails or the disk is full, a path holds its old content or its
new content, whole. Temporary files of killed processes are removed. And checksums.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

from fusecast.errors import ArtifactError, FusecastError

TEMPORARY_FILE = re.compile(r"\..+\.[0-9a-f]{8}\.fusecast", re.DOTALL)
FAILED_WRITE = r"PytorchStreamWriter failed|inline_container|unexpected pos|requested and \d+ written"
"""In the texts of errors of torch and NumPy when a write has failed."""
NOT_REPLACEABLE = (errno.EBUSY, errno.EPERM, errno.EACCES)
"""Errors of renaming onto a file that is mounted by itself, or is another user's in a folder such as /tmp."""

PIPE_SECONDS = 10.0
"""How long to wait for another program to begin to read a pipe."""


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, to write the new content to; on success it replaces `path`.

    The folder is created where it does not exist. The content is flushed to the disk before the file is renamed, and
    has the permissions of the file that it replaces. After an error the temporary file is removed, and `path` stays as
    it was; an ArtifactError names `path` where the disk is full or it cannot be written. Temporary files of killed
    processes in the folder are removed. Of a symbolic link, the file that it leads to is replaced.

    Content is copied into what cannot be replaced, when it is complete: a device, a pipe, the output of this process,
    or a writable file in a folder that cannot be written into. Of these, a kill may leave a part. A pipe that nobody
    begins to read is refused after :data:`PIPE_SECONDS`.
    """
    with translate_write_errors(path):
        target, in_place = _resolve(path)
        folder = Path(tempfile.gettempdir()) if in_place else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, TEMPORARY_FILE)
        temporary, lock = _create_locked(lambda: _create_file(folder, path.name))
        try:
            if not in_place and target.exists():
                _copy_permissions(target, temporary)
            yield temporary
            flush_to_disk(temporary)
            if in_place:
                _copy_into(temporary, target)
            else:
                _rename(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
            _unlock(lock)


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all are complete on the disk before they replace the old ones, the last first.

    :func:`finish_replacing` does what a kill in between has left undone.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            temporary = stack.enter_context(replace_file(path))
            temporary.write_bytes(content)
            flush_to_disk(temporary)


def finish_replacing(path: Path, checksum: str) -> None:
    """Replace a file by what a killed process has written but not renamed, if that has this checksum."""
    with suppress(OSError):
        for temporary in sorted(path.parent.glob(f".{glob.escape(path.name)}.*")):
            if TEMPORARY_FILE.fullmatch(temporary.name) and compute_checksum(temporary) == checksum:
                lock = _lock(temporary)
                if lock is not None:
                    temporary.replace(path)
                    _unlock(lock)
                    return


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all."""
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 file whole, or not at all."""
    write_bytes_atomically(path, text.encode())


def flush_to_disk(path: Path) -> None:
    """Return when the content of a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder that is removed at the end, in `parent` or in the temporary folder of the system.

    Folders of this prefix that killed processes left there are removed. Raise an ArtifactError where no folder can be
    created.
    """
    try:
        place = parent or Path(tempfile.gettempdir())
        place.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place, re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}\.tmp"))
        folder, lock = _create_locked(lambda: Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=place)))
    except OSError as error:
        place = parent or Path(error.filename or "a temporary folder")
        raise ArtifactError.write_failed(place, error.strerror or str(error)) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock of a file, which is created, and hold it; nothing on Windows."""
    if os.name == "nt":
        yield
        return
    import fcntl

    with translate_write_errors(path), path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Raise an ArtifactError with the path and the reason in place of what writers raise on a full disk and so on."""
    try:
        yield
    except FusecastError:
        raise
    except Exception as error:
        reason = _find_reason(error, path)
        if reason is None:
            raise
        raise ArtifactError.write_failed(path, reason) from error


def compute_checksum(content: bytes | Path) -> str:
    """Return the SHA-256 of bytes, or of the content of a file, as hexadecimal text."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_reason(error: Exception, path: Path) -> str | None:
    """Return why a file could not be written; None where the error has another cause.

    polars and pyarrow give the number of the system's error in their text, torch and NumPy none.
    """
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        name = Path(os.fsdecode(error.filename)).absolute()
        concerned = (path.absolute(), Path(os.path.realpath(path)))
        is_concerned = TEMPORARY_FILE.fullmatch(name.name) or any(each.is_relative_to(name) for each in concerned)
        return error.strerror if is_concerned else None
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if number := re.search(r"(?:os error|errno) (\d+)", str(error)):
        return os.strerror(int(number[1]))
    return "the disk is full, or has gone" if re.search(FAILED_WRITE, str(error)) else None


def _resolve(path: Path) -> tuple[Path, bool]:
    """Return the file to replace, and whether its content has to be written in place; raise an OSError for neither."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return Path(os.path.realpath(path)), False
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode) or _standard_stream(status) is not None:
        return path, True
    target = Path(os.path.realpath(path))
    os.close(os.open(target, os.O_WRONLY))  # a file that is write-protected is not replaced
    return target, not os.access(target.parent, os.W_OK | os.X_OK)


def _standard_stream(status: os.stat_result) -> int | None:
    """Return the number of the output of this process that a file is, such as of /dev/stdout."""
    for number in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(number), status):
                return number
    return None


def _create_file(folder: Path, name: str) -> Path:
    """Create an empty temporary file for a file of this name, of which as much is kept as names may be long."""
    short = os.fsencode(name)[:200].decode(errors="ignore")
    path = folder / f".{short}.{uuid4().hex[:8]}.fusecast"
    path.touch(exist_ok=False)
    return path


def _copy_permissions(source: Path, path: Path) -> None:
    """Copy the permissions, owner and group of a file to another, as far as the user may."""
    status = source.stat()
    if os.name != "nt":
        for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
            with suppress(OSError):
                os.chown(path, owner, group)
    with suppress(OSError):
        path.chmod(stat.S_IMODE(status.st_mode))


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.replace(target)
    except OSError as error:
        if error.errno not in NOT_REPLACEABLE or not os.access(target, os.W_OK):
            raise
        _copy_into(temporary, target)


def _copy_into(source: Path, target: Path) -> None:
    """Copy the content of a file into another, for which space is reserved first, or into a device or pipe."""
    stream = _standard_stream(target.stat())
    if stream is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
    handle = _open_for_writing(target) if stream is None else os.dup(stream)
    with os.fdopen(handle, "wb") as file, source.open("rb") as content:
        status, size = os.fstat(handle), source.stat().st_size
        is_file = stream is None and stat.S_ISREG(status.st_mode)
        if is_file and size > status.st_size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(handle, 0, size)
            except OSError:
                os.ftruncate(handle, status.st_size)
                raise
        shutil.copyfileobj(content, file)
        if is_file:
            file.truncate()


def _open_for_writing(path: Path) -> int:
    """Open what is there for writing; raise an OSError for a pipe that nobody begins to read."""
    patience = time.monotonic() + PIPE_SECONDS
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not path.is_fifo():
                raise
            if time.monotonic() > patience:
                raise OSError(errno.ENXIO, "it is a pipe that nobody reads", str(path)) from None
            time.sleep(0.02)
    if os.name != "nt":
        os.set_blocking(handle, True)
    return handle


# A temporary file or folder is locked as long as its process lives, so that others can tell it from a left one.


def _create_locked(create: Callable[[], Path]) -> tuple[Path, int | None]:
    """Create a path and lock it; return its lock too, None on systems and file systems without locks."""
    while True:
        path = create()
        with suppress(BlockingIOError, FileNotFoundError):  # another process has just taken it for a left one
            return path, _lock(path)


def _lock(path: Path) -> int | None:
    """Lock a file or folder; None where there are no locks. Raise an OSError if it is locked already, or gone."""
    if os.name == "nt":
        return None
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.lstat()
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError | FileNotFoundError):
            raise
        return None
    return handle


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in a folder."""
    _remove_leftovers.__wrapped__(folder, TEMPORARY_FILE)


@cache
def _remove_leftovers(folder: Path, pattern: re.Pattern[str]) -> None:
    """Remove the files and folders whose whole name matches and that nobody has locked, once a process and folder."""
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if pattern.fullmatch(path.name)]:
            with suppress(OSError):
                lock = _lock(path)
                if lock is not None:
                    if path.is_dir():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink()
                    _unlock(lock)
