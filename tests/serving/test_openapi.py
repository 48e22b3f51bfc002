"""The server keeps what its OpenAPI schema says, whatever is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.helpers.serving import running

from fusecast.serving.answers import to_rows
from fusecast.serving.app import create_app
from fusecast.serving.models import Models
from fusecast.serving.settings import Settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    unsupported_method,
]

ROUTES = [
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/metrics", "get"),
    ("/v1/models", "get"),
    ("/v1/model", "get"),
    ("/v1/forecast", "post"),
    ("/v1/what-if", "post"),
    ("/v1/inspect", "post"),
]


@pytest.fixture(scope="module")
def api(run: Path, table: pl.DataFrame) -> Iterator[Any]:
    app = create_app(Models({"shop": run}), Settings(keys=("key",)))
    schema = app.openapi()
    body = schema["paths"]["/v1/forecast"]["post"]["requestBody"]["content"]["application/json"]
    body["example"] = {"history": json.loads(json.dumps(to_rows(table)))}
    with running(app) as url:
        loaded = schemathesis.openapi.from_dict(schema)
        loaded.config.update(base_url=url)
        yield loaded


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("route", "method"), ROUTES)
def test_every_answer_is_one_of_the_schema(route: str, method: str, mode: GenerationMode, api: Any) -> None:
    try:
        cases = api[route][method].as_strategy(generation_mode=mode)

        @given(cases)
        @settings(
            max_examples=10, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        def check(case: Any) -> None:
            case.call_and_validate(headers={"X-API-Key": "key"}, checks=CHECKS)

        check()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # nothing can be wrong in a request without parameters


def test_all_routes_are_tried(api: Any) -> None:
    assert {(route, method) for route, methods in api.raw_schema["paths"].items() for method in methods} == set(ROUTES)
