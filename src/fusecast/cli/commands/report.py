from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusecast.cli.options import Data, Device, Future, FutureQuery, Partial, Query, Raw, RunFolder


def report(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="HTML file of the page.", show_default="RUN/report.html")] = None,
    data: Data = None,
    query: Query = None,
    future: Future = None,
    future_query: FutureQuery = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for each figure as a separate file.", show_default=False)
    ] = None,
    kind: Annotated[str, typer.Option(help="Format of those files: png, svg, pdf.")] = "png",
    raw: Raw = False,
    partial: Partial = False,
    device: Device = None,
) -> None:
    """Write one self-contained HTML page about a run."""
    from fusecast.cli import options, output
    from fusecast.forecaster import Forecaster
    from fusecast.io.sources import name_source

    page = out or options.place_of_results(run) / "report.html"
    Forecaster.load(run).report(
        page,
        data=name_source(data, query),
        future=name_source(future, future_query),
        figures=figures,
        kind=kind,  # type: ignore[arg-type]  # checked there
        raw=raw,
        partial=partial,
        device=device,
    )
    output.print_path("report", page)
    if figures is not None:
        output.print_path("figures", figures)
