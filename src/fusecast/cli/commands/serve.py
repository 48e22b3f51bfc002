from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fusecast.cli.options import Device


def serve(
    bundles: Annotated[
        list[str], typer.Argument(help="Bundles or folders of runs; NAME=PATH names one.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.", min=0, max=65535)] = 8000,
    max_rows: Annotated[int, typer.Option(help="Rows of a table at most, and of forecasts.", min=1)] = 200_000,
    max_bytes: Annotated[int, typer.Option(help="Bytes of a request at most.", min=1)] = 32 * 2**20,
    timeout: Annotated[float, typer.Option(help="Seconds until an answer at most.", min=0.1)] = 30.0,
    queue: Annotated[int, typer.Option(help="Requests that wait at most.", min=0)] = 64,
    threads: Annotated[int, typer.Option(help="Requests that are worked on at once.", min=1)] = 8,
    device: Device = None,
) -> None:
    """Answer requests for forecasts over HTTP, and show a page."""
    from fusecast.serving.settings import Settings, read_keys, require_packages

    require_packages()
    from fusecast.serving.app import create_app
    from fusecast.serving.models import Models
    from fusecast.serving.server import run

    settings = Settings(
        max_rows=max_rows, max_bytes=max_bytes, timeout=timeout, queue=queue, threads=threads, keys=read_keys()
    )
    run(create_app(Models(name_bundles(bundles), device), settings), host, port)


def name_bundles(bundles: list[str]) -> dict[str, Path]:
    """Return the paths by name: that before the equals sign, or that of the folder; ConfigError for a name twice."""
    from fusecast.errors import ConfigError

    named: dict[str, Path] = {}
    for text in bundles:
        name, equals, path = text.partition("=")
        if not equals or not name or Path(text).exists():
            name, path = Path(os.path.abspath(text)).name, text  # noqa: PTH100  a link is not followed
        if name in named:
            raise ConfigError.model_named_twice(name)
        named[name] = Path(path)
    return named
