from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusecast.cli.options import Device


def serve(
    bundles: Annotated[
        list[str], typer.Argument(help="Bundle or folder of a run; NAME=PATH names it.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.")] = 8000,
    device: Device = None,
) -> None:
    """Answer requests for forecasts over HTTP."""
    from fusecast.serving.settings import Settings, read_keys, require_packages

    require_packages()
    from fusecast.serving.app import create_app
    from fusecast.serving.models import Models
    from fusecast.serving.server import run

    run(create_app(Models(name_bundles(bundles), device), Settings(keys=read_keys())), host, port)


def name_bundles(bundles: list[str]) -> dict[str, Path]:
    """Return the paths by name: that before the equals sign, or that of the folder."""
    named = {}
    for text in bundles:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = Path(text).resolve().name, text
        named[name] = Path(path)
    return named
