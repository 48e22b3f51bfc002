"""Servers for tests: one in a thread of this process, or a process of its own, on a free port of this machine."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import httpx
import polars as pl
from fastapi import FastAPI

from fusecast.serving.server import Server, address_of, listen


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve an application in a thread, and give its address."""
    with listen("127.0.0.1", 0) as listener:
        server = Server(app)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def wait_until(true: Any, seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it took too long"
        time.sleep(0.01)


class ServerProcess:
    """`fusecast serve` as a user runs it."""

    def __init__(self, words: Sequence[object], log: Path, **environment: str) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fusecast", "serve", *map(str, words)],
                stderr=file,
                stdout=file,
                env=os.environ | environment,
            )

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log; those that are not JSON as their text."""
        texts = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(text) if text.startswith("{") else {"message": text} for text in texts]

    @property
    def url(self) -> str:
        """Wait for the address."""
        wait_until(lambda: self.process.poll() is not None or any("url" in line for line in self.lines()), 120)
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        url = str(next(line["url"] for line in self.lines() if "url" in line))
        wait_until(lambda: httpx.get(f"{url}/healthz").status_code == 200)
        return url

    def stop(self) -> int:
        """Ask the process to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def server_process(words: Sequence[object], log: Path, **environment: str) -> Iterator[ServerProcess]:
    """Run `fusecast serve` until the block ends."""
    server = ServerProcess(words, log, **environment)
    try:
        yield server
    finally:
        server.stop()


def to_xlsx(frame: pl.DataFrame) -> bytes:
    """Return a table as a spreadsheet; times are texts."""
    rows = [frame.columns, *frame.with_columns(pl.col(pl.Datetime).dt.to_string()).rows()]

    def cell(value: Any) -> str:
        if value is None:
            return "<c/>"
        if isinstance(value, float | int):
            return f"<c><v>{value!r}</v></c>"
        return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'

    return zip_sheet("".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows))


def zip_sheet(rows: str) -> bytes:
    """Return a spreadsheet with rows in its own XML."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"

    def relation(kind: str, target: str) -> str:
        one = f'<Relationship Id="r1" Type="{office}/{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{package}/relationships">{one}</Relationships>'

    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kinds}.worksheet+xml"/></Types>',
        "_rels/.rels": relation("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="data" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": relation("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return buffer.getvalue()
