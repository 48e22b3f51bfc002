"""The routes of trainings, which `fusecast ui` adds to a server, and what protects these from other web pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fusecast.io.documents import parse_json
from fusecast.serving.bodies import limit_body, read_parts, require_file, to_frame, validate
from fusecast.serving.errors import RequestError
from fusecast.serving.settings import Settings
from fusecast.serving.trainings.trainings import TrainingOptions, Trainings
from fusecast.serving.work import Workers

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
REPORT_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""A report is one file, its scripts and styles in it; it loads nothing, and sends nothing."""


class OwnPageOnly:
    """Refuse requests that were not made to this machine by name, or come from the page of another server.

    Any page that a browser shows could otherwise send a form to a server on the same machine.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "http":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            host, origin = headers.get(b"host", ""), headers.get(b"origin")
            if urlsplit(f"//{host}").hostname not in LOOPBACK or origin not in (None, f"http://{host}"):
                error = RequestError(403, "origin", "this server answers its own page alone")
                await JSONResponse(error.to_dict(), error.status)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def add_training_routes(app: FastAPI, trainings: Trainings) -> None:
    """Add the routes; `app.state.trainings` has the trainings then."""
    settings: Settings = app.state.settings
    workers: Workers = app.state.workers
    app.state.trainings = trainings
    app.add_middleware(OwnPageOnly)

    @app.post("/v1/trainings")
    async def start(request: Request) -> dict[str, Any]:
        """Start to train on a table."""
        parts = await read_parts(limit_body(request, settings), settings)
        file, options = require_file(parts, "table"), read_options(parts.get("options"))

        def begin() -> dict[str, Any]:
            ids = [options.id] if isinstance(options.id, str) else options.id or []
            frame = to_frame(file, "table", tuple(ids), settings)
            assert frame is not None
            return {"id": trainings.start(str(parts.get("name", "")), frame, options).name}

        return await workers.run(begin)

    @app.get("/v1/trainings")
    async def list_trainings() -> dict[str, Any]:
        """List the trainings, and where they write."""
        return {"trainings": trainings.describe(), "folder": str(trainings.folder)}

    @app.get("/v1/trainings/{name}")
    async def describe(name: str) -> dict[str, Any]:
        """Describe how far a training is."""
        return trainings.get(name).describe()

    @app.delete("/v1/trainings/{name}")
    async def stop(name: str) -> dict[str, Any]:
        """Stop a training; what it has learned so far becomes its model."""
        training = trainings.get(name)
        training.stop()
        return training.describe()

    @app.get("/v1/trainings/{name}/report")
    async def report(name: str) -> Response:
        """Return the report of a training, an HTML page."""
        path = trainings.get(name).report
        if path is None:
            raise RequestError(404, "no_report", f"training {name!r} has no report")
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def read_options(text: bytes | str | None) -> TrainingOptions:
    """Return the options in a text of JSON; a RequestError that names the field where one is wrong."""
    try:
        values = parse_json(text or "{}")
    except ValueError as error:
        raise RequestError.wrong_request(f"the options cannot be read: {error}", field="options") from None
    if not isinstance(values, dict):
        raise RequestError.wrong_request("the options must be an object", field="options")
    options: TrainingOptions = validate(TrainingOptions, values)
    return options
