"""The process of a server: its socket, its connections, its log, and its end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from types import FrameType
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from fusecast.errors import ConfigError
from fusecast.serving.middleware import Gate, JsonLines, write

BACKLOG = 2048
GRACE = 0.5
"""Seconds in which a server that shuts down still answers, with 503."""


class Connection(H11Protocol):
    """A connection that is cut where a client does not send the head of a request, or does not read the answer."""

    timeout = 10.0
    _timer: asyncio.TimerHandle | None = None
    _unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unread = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(self.timeout, self._check)

    def _check(self) -> None:
        """Cut the connection, unless an answer is being computed, or the client has read a part of it since."""
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self.transport.get_write_buffer_size() < self._unread:
            self._wait()
            return
        self.transport.abort()


class Server(uvicorn.Server):
    """A server that finishes what it has accepted, and answers 503 to what comes after the signal."""

    def __init__(self, app: FastAPI) -> None:
        settings = app.state.settings
        kind = type("Connection", (Connection,), {"timeout": settings.header_timeout})
        super().__init__(
            uvicorn.Config(
                app,
                http=kind,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self.gate: Gate = app.state.gate
        self._told = False
        self.longest = settings.timeout + settings.body_timeout + GRACE

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  of uvicorn
        """Close the gate; at a second signal end at once."""
        if self.gate.closing:
            self.force_exit = self.should_exit = True
            return
        self.gate.close()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end now: all that was accepted is answered, or that takes too long."""
        if self.gate.closing:
            if not self._told:  # not in the handler of the signal, which may have interrupted a line of the log
                write("closing", in_flight=self.gate.in_flight)
                self._told = True
            seconds = time.monotonic() - self.gate.closed_at
            if seconds > self.longest or (seconds > GRACE and not self.gate.in_flight):
                self.should_exit = True
        return await super().on_tick(counter)


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve an application until a signal ends the process; raise a ConfigError where the address cannot be used."""
    keys = app.state.settings.keys
    with listen(host, port) as listener:
        _log_json()
        torch.set_num_threads(1)  # requests and passes have a thread each
        write("listening", url=address_of(listener), models=app.state.models.names(), keys=len(keys))
        if not keys and not _is_local(listener):
            write("no key is needed: who reaches this address can use the server", logging.WARNING)
        asyncio.run(Server(app).serve(sockets=[listener]))
    write("closed")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise a ConfigError where the address cannot be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError.cannot_listen(host, port, getattr(error, "strerror", None) or str(error)) from None


def address_of(listener: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_local(listener: socket.socket) -> bool:
    host = str(listener.getsockname()[0])
    return host.startswith("127.") or host == "::1"


def _log_json() -> None:
    """Write the log to stderr, a line of JSON each."""
    handler: Any = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("fusecast.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
