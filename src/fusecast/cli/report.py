from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Where the page goes [RUN/report.html].", show_default=False)] = None,
    data: Annotated[Path | None, typer.Option(help="Table, grown since the fit [the run's own].")] = None,
) -> None:
    """Write one self-contained HTML page about a run."""
    from fusecast.cli import show
    from fusecast.forecaster import Forecaster

    page = out or run / "report.html"
    Forecaster.load(run).report(page, data=data)
    show.written("report", page)
