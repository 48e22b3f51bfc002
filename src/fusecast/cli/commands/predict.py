from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Where the forecasts go: .parquet or .csv.")] = Path("forecasts.parquet"),
    data: Annotated[Path | None, typer.Option(help="Newer table to forecast from [the run's own].")] = None,
    future: Annotated[Path | None, typer.Option(help="Table of the known columns for the steps to forecast.")] = None,
    quantiles: Annotated[
        str | None, typer.Option(help="Any quantile levels: 0.05,0.5,0.95 [those of the fit].", show_default=False)
    ] = None,
    calibrated: Annotated[bool, typer.Option("--calibrated", help="Shift quantiles as `calibrate` learned.")] = False,
) -> None:
    """Forecast the steps after each series' last row."""
    from fusecast.cli import options, output
    from fusecast.forecaster import Forecaster
    from fusecast.io.tables import check_apart, check_writable, write_table

    check_writable(out)
    forecaster = Forecaster.load(run)
    check_apart(out, data, future, forecaster.config.data)
    forecasts = forecaster.predict(future, data=data, quantiles=options.numbers(quantiles), calibrated=calibrated)
    write_table(forecasts, out)
    output.forecasts(forecasts, out)
