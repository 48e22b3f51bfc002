from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    method: Annotated[str, typer.Option(help="cqr, split or adaptive; auto takes what suits the span.")] = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Table with the validation span [the run's own].", show_default=False)
    ] = None,
) -> None:
    """Learn from the validation span how to shift quantiles so that they hold what they promise."""
    from fusecast.cli import output
    from fusecast.forecaster import Forecaster

    found = Forecaster.load(run).calibrate(method, data=data)
    output.console.print(f"Calibrated by {found.method} on {found.windows:,} windows of the validation span.")
    output.console.print(f"Next:\n  fusecast backtest {run} --calibrated\n  fusecast predict {run} --calibrated")
    output.written("calibration", run / "config.json")
