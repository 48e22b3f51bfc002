"""What holds for every request: an id, a log line, counts, headers, and an answer where something fails."""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from fusecast.serving.errors import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from fusecast.serving.models import Models

log = logging.getLogger("fusecast.serving")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
"""Paths that are answered during the shutdown too."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_LEFT = 499
"""Status in the log of a request whose client has gone before it was whole."""
PLACES = 8
"""Calls, up to the one that failed, that are written to the log."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass
class Facts:
    """What is known of a request: it is logged and counted. Neither contents nor keys are among it."""

    id: str
    model: str | None = None
    rows: int | None = None  # of the tables sent
    bytes: int = 0  # of its body that are in memory
    status: int = 0


class JsonLines(logging.Formatter):
    """Write a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: time, level, message, and the fields of the record."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(values | getattr(record, "fields", {}), default=str)


def write(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write a line to the log."""
    log.log(level, message, extra={"fields": fields})


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self, models: Models, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        labels: dict[str, Any] = {"registry": self.registry, "namespace": "fusecast"}
        self.requests = Counter("requests", "Answers by route and status.", ["route", "status"], **labels)
        self.seconds = Histogram("request_seconds", "Time to an answer by route.", ["route"], buckets=SECONDS, **labels)
        self.rows = Counter("rows", "Rows of the tables sent.", **labels)
        Gauge("queue_length", "Requests that wait, or are worked on.", **labels).set_function(waiting)
        self.batches = Histogram(
            "batch_requests", "Requests that share a pass of the network.", buckets=SIZES, **labels
        )
        self.windows = Histogram("batch_windows", "Windows of a pass of the network.", buckets=SIZES, **labels)
        self.registry.register(_ModelInfo(models))
        ProcessCollector(registry=self.registry)

    def observe_pass(self, requests: int, windows: int) -> None:
        """Count a pass of a network."""
        self.batches.observe(requests)
        self.windows.observe(windows)


class _ModelInfo(Collector):
    """One constant a model: its name, id and version."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the models of now."""
        info = GaugeMetricFamily("fusecast_model_info", "Models served.", labels=["model", "model_id", "version"])
        failed = GaugeMetricFamily(
            "fusecast_model_reload_failed", "Whether a newer model could not be loaded.", labels=["model"]
        )
        for model in self.models.all():
            info.add_metric([model.name, model.model_id, model.bundle.version], 1)
            failed.add_metric([model.name], float(model.name in self.models.failures))
        yield info
        yield failed


@dataclass
class Gate:
    """Whether requests are taken, and how many are in flight."""

    closing: bool = False
    in_flight: int = 0
    closed_at: float = 0.0
    body_bytes: int = 0  # of all bodies in memory

    def close(self) -> None:
        """Take no more requests."""
        self.closing, self.closed_at = True, time.monotonic()


class Middleware:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, gate: Gate, metrics: Metrics) -> None:
        self.app, self.gate, self.metrics = app, gate, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, gate = time.monotonic(), self.gate
        facts = Facts(_request_id(scope))
        scope.setdefault("state", {})["facts"] = facts

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = facts.id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if gate.closing:
                    headers["Connection"] = "close"
            await send(message)

        gate.in_flight += 1
        try:
            if gate.closing and scope["path"] not in ALWAYS_ANSWERED:
                await _answer(RequestError.closing())(scope, receive, send_marked)
            else:
                await self.app(scope, receive, send_marked)
        except ClientDisconnect:
            facts.status = facts.status or CLIENT_LEFT
        except Exception as error:  # noqa: BLE001  whatever it is, the client learns nothing of it but an id
            write("failed", logging.ERROR, id=facts.id, error=type(error).__name__, at=_places(error))
            if not facts.status:
                await _answer(RequestError.internal(facts.id))(scope, receive, send_marked)
        finally:
            gate.in_flight -= 1
            gate.body_bytes -= facts.bytes
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", None) or "other"
            self.metrics.requests.labels(route, str(facts.status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            if facts.rows:
                self.metrics.rows.inc(facts.rows)
            request = {"id": facts.id, "method": scope["method"], "path": scope["path"], "status": facts.status}
            write("request", **request, ms=round(1000 * seconds, 1), rows=facts.rows, model=facts.model)


def _answer(error: RequestError) -> JSONResponse:
    return JSONResponse(error.to_dict(), error.status, headers=error.headers)


def _request_id(scope: Scope) -> str:
    """Return the id that the client has chosen, or a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex[:16]


def _places(error: BaseException) -> list[str]:
    """Return where an error was raised; not its words, which may quote a table."""
    return [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-PLACES:]
    ]
