"""Tables in the bytes of files: CSV, Parquet, Arrow and spreadsheets, recognised by their content.

A small file can stand for a table that fills the memory. Files are therefore read in another process (this module, run
by itself), whose memory is limited; it is started at the first file, and anew where it has ended.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from fusecast.errors import DataError, FusecastError
from fusecast.io.parquet import ParquetTable
from fusecast.io.tables import read_table
from fusecast.serving.errors import CODES, RequestError
from fusecast.serving.settings import KEYS, Settings

MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".stream", b"PK\x03\x04": ".xlsx"}
UNREADABLE = {
    b"\x1f\x8b": "the file is compressed by gzip\nHint: send it as it was before",
    b"\xd0\xcf\x11\xe0": "the file is a spreadsheet of the format before 2007\nHint: save it as .xlsx",
    b"%PDF": "the file is a PDF\nHint: send a table: CSV, Parquet, Arrow or .xlsx",
}
READERS = 2
"""Files that are read at once."""
FREE_BYTES = 2**30
"""Memory for any table, beside what its size allows."""


def find_kind(content: bytes) -> str:
    """Return the ending that files with this content have; raise a DataError where no such file is read."""
    for magic, why in UNREADABLE.items():
        if content.startswith(magic):
            raise DataError(why)
    return next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), ".csv")


def decode_table(content: bytes, name: str, keys: tuple[str, ...], settings: Settings) -> pl.DataFrame:
    """Return the table in the bytes of a file.

    Raise a RequestError where it is too large or takes too long to read, and a DataError where it cannot be read.
    """
    kind = find_kind(content)
    reader = _readers().get()
    try:
        with tempfile.TemporaryDirectory(prefix="fusecast-table-") as folder:
            path = Path(folder, f"{name}{kind}")
            path.write_bytes(content)
            limits = {"rows": settings.max_rows, "cells": settings.max_cells}
            limits["bytes"] = FREE_BYTES + 16 * len(content) + 64 * settings.max_cells
            answer = reader.read({"path": str(path), "keys": keys, "limits": limits}, settings.timeout)
            if "frame" in answer:
                return pl.read_ipc(Path(answer["frame"]).read_bytes())
            raise _to_error(answer, path, name, settings)
    finally:
        _readers().put(reader)


def _to_error(answer: Mapping[str, Any], path: Path, name: str, settings: Settings) -> Exception:
    """Return the error that a reader has answered with."""
    if "too_large" in answer:
        what = answer["too_large"]
        if what == "bytes":
            return RequestError.too_much_memory(f"the table {name!r}")
        return RequestError.too_large(f"the table {name!r}", getattr(settings, f"max_{what}"), what)
    if "late" in answer:
        return RequestError.deadline(settings.timeout)
    error = next((kind for kind, code in CODES.items() if code == answer.get("error")), DataError)
    return error(str(answer["message"]).replace(str(path), path.name))


class Reader:
    """A process that reads files one after another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._served = 0

    def read(self, wanted: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answer of the process; one that has read other files and ends now has another trial."""
        while True:
            answer = self._ask(wanted, seconds)
            if answer is not None:
                return answer
            self.close()
            if self._served == 1:
                return {"too_large": "bytes"}

    def _ask(self, wanted: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
        """Return an answer; None where the process has ended without one."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
            self._served = 0
        self._served += 1
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(dict(wanted)) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if late.is_set():
            self.close()
            return {"late": True}
        return json.loads(line) if line.endswith("\n") else None

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if name != KEYS}
        environment |= {"ARROW_DEFAULT_MEMORY_POOL": "system"}  # others reserve a gigabyte at once
        environment |= {"POLARS_MAX_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fusecast.serving.decoding"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # which may quote the table
            text=True,
            encoding="utf-8",
            env=environment,
        )

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            self._process = None


_LOCK = threading.Lock()
_READERS: queue.LifoQueue[Reader] | None = None


def _readers() -> queue.LifoQueue[Reader]:
    """Return the readers that are free; the one used last comes first."""
    global _READERS  # noqa: PLW0603  one set a process
    with _LOCK:
        if _READERS is None:
            _READERS = queue.LifoQueue()
            for _ in range(READERS):
                reader = Reader()
                atexit.register(reader.close)
                _READERS.put(reader)
        return _READERS


# The process that reads.


def read_limited(path: Path, keys: list[str], limits: Mapping[str, int]) -> dict[str, Any]:
    """Read the table of a file, write it beside it, and return where; or what is wrong."""
    try:
        if path.suffix == ".parquet":
            table = ParquetTable.at(path)
            if found := _exceeded(table.rows, len(table.types), limits):
                return {"too_large": found}
        frame = pl.read_ipc_stream(path) if path.suffix == ".stream" else read_table(path, keys=keys)
        if found := _exceeded(len(frame), frame.width, limits):
            return {"too_large": found}
        place = path.with_suffix(".frame")
        read_table(frame, keys=keys).write_ipc(place)
    except MemoryError:
        return {"too_large": "bytes"}
    except FusecastError as error:
        code = next((code for kind, code in CODES.items() if isinstance(error, kind)), None)
        return {"error": code, "message": str(error)}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  panics of polars too
        words = (str(error).splitlines() or [type(error).__name__])[0]
        return {"error": "data", "message": str(DataError.unreadable_file(path.name, words))}
    return {"frame": str(place)}


def _exceeded(rows: int, columns: int, limits: Mapping[str, int]) -> str | None:
    return "rows" if rows > limits["rows"] else "cells" if rows * columns > limits["cells"] else None


def _limit_memory(limit: int) -> None:
    """Let this process take so many bytes more than now, where the system can hold it to that."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (now + limit, hard))


def main() -> None:
    """Read the files that are named on stdin, a line of JSON each, until it ends."""
    with suppress(OSError):  # where memory runs out all the same, the system ends this process and not the server
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for line in sys.stdin:
        wanted = json.loads(line)
        _limit_memory(wanted["limits"]["bytes"])
        answer = read_limited(Path(wanted["path"]), wanted["keys"], wanted["limits"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
