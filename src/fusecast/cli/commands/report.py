from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Where the page goes [RUN/report.html].", show_default=False)] = None,
    data: Annotated[Path | None, typer.Option(help="Table, grown since the fit [the run's own].")] = None,
    future: Annotated[Path | None, typer.Option(help="Table of the known columns for the steps to forecast.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for each figure as a file of its own.")] = None,
    kind: Annotated[str, typer.Option(help="Kind of those files: png, svg, pdf.")] = "png",
) -> None:
    """Write one self-contained HTML page about a run."""
    from fusecast.cli import output
    from fusecast.forecaster import Forecaster

    page = out or run / "report.html"
    Forecaster.load(run).report(page, data=data, future=future, figures=figures, kind=kind)
    output.written("report", page)
    if figures is not None:
        output.written("figures", figures)
