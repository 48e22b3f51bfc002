from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer


def ui(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs or bundles to show too; NAME=PATH names one.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.")] = 8080,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs.", show_default="a new one for temporary files")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of every training: section.name=value; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Open a page on this machine that trains on a table, forecasts it, and shows the report."""
    from fusecast.serving.settings import Settings, require_packages

    require_packages()
    import asyncio

    from fusecast.cli import output
    from fusecast.cli.commands.serve import name_bundles
    from fusecast.cli.options import parse_assignments
    from fusecast.serving.app import create_app
    from fusecast.serving.models import Models
    from fusecast.serving.server import Server, address_of, listen
    from fusecast.serving.trainings.routes import add_training_routes
    from fusecast.serving.trainings.trainings import Trainings

    models = Models(name_bundles(runs or []))
    app = create_app(models, Settings(max_bytes=2**30, max_rows=10_000_000, timeout=600.0, body_timeout=600.0))
    with listen("127.0.0.1", port) as listener:
        folder = Path(tempfile.mkdtemp(prefix="fusecast-ui-")) if out is None else out.resolve()
        trainings = Trainings(folder, models, parse_assignments(set_ or []))
        add_training_routes(app, trainings)
        output.print_line(f"The page is at {address_of(listener)} until Ctrl+C. Runs and reports go to {folder}.")
        try:
            asyncio.run(Server(app).serve(sockets=[listener]))
        finally:
            trainings.close()
