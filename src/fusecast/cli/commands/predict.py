from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusecast.cli.options import Data, Device, Future, Partial, Raw, RunFolder


def predict(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="File of the forecasts: .parquet or .csv.")] = Path("forecasts.parquet"),
    data: Data = None,
    future: Future = None,
    quantiles: Annotated[
        str | None, typer.Option(help="Quantile levels, such as 0.05,0.5,0.95.", show_default="those of the fit")
    ] = None,
    raw: Raw = False,
    partial: Partial = False,
    device: Device = None,
) -> None:
    """Forecast the steps after each series' last row."""
    from fusecast.cli import options, output
    from fusecast.forecaster import Forecaster
    from fusecast.io.tables import check_apart, check_writable, write_table

    check_writable(out)
    forecaster = Forecaster.load(run)
    check_apart(out, data, future, forecaster.config.data)
    levels = options.split_numbers(quantiles)
    forecasts = forecaster.predict(future, data=data, quantiles=levels, raw=raw, partial=partial, device=device)
    write_table(forecasts, out)
    output.print_note_on_raw(forecaster, raw)
    output.print_forecasts(forecasts, out)
