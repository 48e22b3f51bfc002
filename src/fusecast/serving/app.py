"""The application: its routes, and what every answer has in common."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from fusecast._version import __version__
from fusecast.errors import FusecastError
from fusecast.serving import answers
from fusecast.serving.bodies import (
    FORM,
    TABLES,
    ErrorAnswer,
    ForecastRequest,
    WhatIfRequest,
    describe_body,
    read_call,
    read_file,
)
from fusecast.serving.errors import CODES, RequestError
from fusecast.serving.forecasting import answer_forecast, answer_inspect, answer_what_if
from fusecast.serving.middleware import Gate, Metrics, Middleware
from fusecast.serving.models import Models
from fusecast.serving.settings import Settings
from fusecast.serving.work import Workers

PAGE = Path(__file__).parent / "page"
REFUSALS: Mapping[int, str] = {
    401: "A key is needed.",
    404: "There is no such model.",
    408: "The body came too slowly.",
    413: "The body or the table is too large.",
    415: "Bodies of this type are not read.",
    422: "The body, an option or a table cannot be understood.",
    429: "Too many requests are waiting.",
    500: "The server failed; its log has the details under an id.",
    503: "The server is shutting down.",
    504: "There was no answer in time.",
}
SECONDS_BETWEEN_LOOKS = 1.0
"""Seconds after which the files of the models are looked at again."""


def check_key(request: Request) -> None:
    """Raise a RequestError where a key is needed and the request has none of them."""
    keys = request.app.state.settings.keys
    if not keys:
        return
    header = request.headers.get("authorization", "")
    scheme, _, bearer = header.partition(" ")
    given = (bearer if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")).strip().encode("latin-1")
    if not any([hmac.compare_digest(given, key.encode()) for key in keys]):  # noqa: C419  all are compared
        raise RequestError.no_key()


def create_app(models: Models, settings: Settings | None = None) -> FastAPI:
    """Return the application that serves models.

    Its `state` has them as `models`, the `settings`, the `workers` that answer, and the `gate` that closes it.
    """
    settings = settings or Settings()
    workers, gate = Workers(settings), Gate()
    metrics = Metrics(models, lambda: workers.pending)
    models.passes.active = lambda: workers.active
    models.passes.observe = metrics.observe_pass

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(models))
        yield
        watching.cancel()
        workers.close()

    app = FastAPI(
        title="fusecast", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.models, app.state.settings, app.state.workers = models, settings, workers
    app.state.gate, app.state.metrics = gate, metrics
    app.add_middleware(Middleware, gate=gate, metrics=metrics)
    add_error_handlers(app)
    add_status_routes(app)
    add_model_routes(app)
    add_page(app)
    return app


async def _watch(models: Models) -> None:
    """Take up models whose files have changed."""
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        await asyncio.to_thread(models.refresh)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error in the same form."""

    def answer(error: RequestError) -> Response:
        return JSONResponse(error.to_dict(), error.status, headers=error.headers)

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError) -> Response:
        return answer(error)

    @app.exception_handler(FusecastError)
    async def explain(_: Request, error: FusecastError) -> Response:
        if not isinstance(error, tuple(CODES)):
            raise error
        return answer(RequestError.from_error(error))

    @app.exception_handler(RequestValidationError)
    async def refuse_options(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return answer(RequestError.wrong_request(f"{name!r}: {first['msg']}", field=name))

    @app.exception_handler(HTTPException)
    async def refuse_route(_: Request, error: HTTPException) -> Response:
        return answer(RequestError(error.status_code, "route", str(error.detail), headers=error.headers))


def add_status_routes(app: FastAPI) -> None:
    """Add what programs that watch the server ask for."""

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Return whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "The server is shutting down."}})
    async def readyz() -> Response:
        """Return whether requests are taken, and which newer models could not be loaded."""
        closing, failures = app.state.gate.closing, app.state.models.failures
        values = {"status": "closing" if closing else "ready", "not_loaded": dict(failures)}
        return JSONResponse(values, 503 if closing else 200)

    @app.get("/metrics", responses=refusals(401), dependencies=[Depends(check_key)], response_class=Response)
    async def metrics() -> Response:
        """Return counts of requests, times, batches and models, as Prometheus reads them."""
        return Response(generate_latest(app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json", dependencies=[Depends(check_key)], include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(app.openapi())


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that are no results, for OpenAPI."""
    return {status: {"model": ErrorAnswer, "description": REFUSALS[status]} for status in statuses}


def add_model_routes(app: FastAPI) -> None:
    """Add what models answer."""
    models: Models = app.state.models
    settings: Settings = app.state.settings
    workers: Workers = app.state.workers
    protected: dict[str, Any] = {"dependencies": [Depends(check_key)], "responses": refusals(401, 404, 422, 500, 503)}
    posted = protected | {"responses": refusals(*REFUSALS)}
    file = {"type": "string", "format": "binary"}
    content: dict[str, Any] = {answers.JSON: {"schema": {"type": "object"}}}
    content |= {media: {"schema": file} for media in answers.TABLES}
    tables: dict[int | str, dict[str, Any]] = {200: {"content": content}}
    form = {"type": "object", "properties": {"table": file}, "required": ["table"]}
    bodies = {media: {"schema": file} for media in TABLES}
    name_of_model = Query(None, alias="model", description="name of the model; the first one")

    @app.get("/v1/models", **protected)
    async def list_models() -> dict[str, Any]:
        """List the models by name, and say whether this server trains others."""
        listed = [{"name": name, "default": n == 0} for n, name in enumerate(models.names())]
        return {"models": listed, "trains": hasattr(app.state, "trainings")}

    @app.get("/v1/model", **protected)
    async def describe_model(model: str | None = name_of_model) -> dict[str, Any]:
        """Describe a model: its columns, sizes, accuracy and coverage."""
        return models.get(model).describe()

    @app.post(
        "/v1/forecast",
        dependencies=posted["dependencies"],
        responses=posted["responses"] | tables,
        openapi_extra=describe_body(ForecastRequest, tables=True),
    )
    async def forecast(request: Request, model: str | None = name_of_model) -> Response:
        """Forecast the steps after the last row of each series."""
        served = models.get(model)
        request.state.facts.model = served.name
        understand = await read_call(request, settings, ForecastRequest)
        media = answers.choose_media(request.headers.get("accept", ""))
        content, request.state.facts.rows = await workers.run(
            lambda: answer_forecast(served, understand(), media, settings)
        )
        return Response(content, media_type=media)

    @app.post("/v1/what-if", **posted, openapi_extra=describe_body(WhatIfRequest))
    async def what_if(request: Request, model: str | None = name_of_model) -> Response:
        """Forecast with other values of known columns, beside the forecast as it is."""
        served = models.get(model)
        request.state.facts.model = served.name
        understand = await read_call(request, settings, WhatIfRequest)
        content, request.state.facts.rows = await workers.run(lambda: answer_what_if(served, understand(), settings))
        return Response(content, media_type=answers.JSON)

    @app.post(
        "/v1/inspect",
        **posted,
        openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": form}, **bodies}}},
    )
    async def inspect(request: Request) -> Response:
        """Describe a table, and propose the roles of its columns."""
        file = await read_file(request, settings, "table")
        content, request.state.facts.rows = await workers.run(lambda: answer_inspect(file, settings))
        return Response(content, media_type=answers.JSON)


def add_page(app: FastAPI) -> None:
    """Add the page and its files."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    app.mount("/static", StaticFiles(directory=PAGE), name="static")
