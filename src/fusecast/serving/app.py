"""The application: its routes, and what every answer has in common."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from fusecast._version import __version__
from fusecast.errors import FusecastError
from fusecast.serving import answers
from fusecast.serving.bodies import ForecastRequest, WhatIfRequest, limit_body, read_call, read_form
from fusecast.serving.errors import CODES, RequestError
from fusecast.serving.forecasting import answer_forecast, answer_inspect, answer_what_if
from fusecast.serving.models import Models
from fusecast.serving.settings import Settings
from fusecast.serving.work import Workers

PAGE = Path(__file__).parent / "page"
POLICY = "default-src 'self'"


def check_key(request: Request) -> None:
    """Raise a RequestError where a key is needed and the request has none of them."""
    keys = request.app.state.settings.keys
    if not keys:
        return
    header = request.headers.get("authorization", "")
    scheme, _, bearer = header.partition(" ")
    given = (bearer if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")).strip().encode()
    if not any([hmac.compare_digest(given, key.encode()) for key in keys]):  # all are compared
        raise RequestError.no_key()


def create_app(models: Models, settings: Settings | None = None) -> FastAPI:
    """Return the application that serves models; `app.state` has them as `models`, and the `settings` and `workers`."""
    settings = settings or Settings()
    app = FastAPI(title="fusecast", version=__version__, docs_url=None, redoc_url=None)
    app.state.models, app.state.settings, app.state.workers = models, settings, Workers(settings)
    add_error_handlers(app)
    add_status_routes(app)
    add_model_routes(app)
    add_page(app)
    return app


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

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """Return whether requests are taken."""
        return {"status": "ready"}


def add_model_routes(app: FastAPI) -> None:
    """Add what models answer."""
    models: Models = app.state.models
    settings: Settings = app.state.settings
    workers: Workers = app.state.workers
    protected: dict[str, Any] = {"dependencies": [Depends(check_key)]}
    name_of_model = Query(None, alias="model", description="name of the model; the first one")

    @app.get("/v1/models", **protected)
    async def list_models() -> dict[str, Any]:
        """List the models by name."""
        return {"models": [{"name": name, "default": n == 0} for n, name in enumerate(models.names())]}

    @app.get("/v1/model", **protected)
    async def describe_model(model: str | None = name_of_model) -> dict[str, Any]:
        """Describe a model: its columns, sizes, accuracy and coverage."""
        return models.get(model).describe()

    @app.post("/v1/forecast", **protected)
    async def forecast(request: Request, model: str | None = name_of_model) -> Response:
        """Forecast the steps after the last row of each series."""
        served = models.get(model)
        call = await read_call(request, settings, ForecastRequest)
        media = answers.choose_media(request.headers.get("accept", ""))
        content, _ = await workers.run(lambda: answer_forecast(served, call, media, settings))
        return Response(content, media_type=media)

    @app.post("/v1/what-if", **protected)
    async def what_if(request: Request, model: str | None = name_of_model) -> Response:
        """Forecast with other values of known columns, beside the forecast as it is."""
        served = models.get(model)
        call = await read_call(request, settings, WhatIfRequest)
        content, _ = await workers.run(lambda: answer_what_if(served, call, settings))
        return Response(content, media_type=answers.JSON)

    @app.post("/v1/inspect", **protected)
    async def inspect(request: Request) -> Response:
        """Describe a table, and propose the roles of its columns."""
        form = await read_form(limit_body(request, settings), settings)
        table = form.get("table")
        if not isinstance(table, UploadFile):
            raise RequestError.wrong_request("the form has no file 'table'", field="table")
        file = await table.read()
        content, _ = await workers.run(lambda: answer_inspect(file, settings))
        return Response(content, media_type=answers.JSON)


def add_page(app: FastAPI) -> None:
    """Add the page and its files."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})

    app.mount("/static", StaticFiles(directory=PAGE), name="static")
