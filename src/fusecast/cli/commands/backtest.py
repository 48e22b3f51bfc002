from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusecast.cli.options import Data, Device, Query, Raw, RunFolder


def backtest(
    run: RunFolder,
    data: Data = None,
    query: Query = None,
    stride: Annotated[int, typer.Option(help="Steps between origins.")] = 1,
    start: Annotated[
        str | None, typer.Option(help="First step to forecast, a date or time.", show_default="start of the test split")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="No step at or after it is forecast.", show_default="end of the table")
    ] = None,
    refit_every: Annotated[
        int | None, typer.Option(help="Refit the model after so many origins.", show_default="never")
    ] = None,
    warm_start: Annotated[
        bool, typer.Option(help="Refits start from the weights before them, or from new ones.")
    ] = True,
    baselines: Annotated[
        str, typer.Option(help="Any of last,seasonal,drift,mean,ets,theta,lightgbm.")
    ] = "last,seasonal,drift,mean",
    raw: Raw = False,
    out: Annotated[
        Path | None, typer.Option(help="Parquet file of all forecasts.", show_default="RUN/backtest.parquet")
    ] = None,
    device: Device = None,
) -> None:
    """Forecast from rolling origins, and evaluate the forecasts beside baselines."""
    from fusecast.cli import options, output
    from fusecast.forecaster import Forecaster
    from fusecast.io.sources import name_source
    from fusecast.io.tables import check_folder

    path = out or run / "backtest.parquet"
    forecaster = Forecaster.load(run)
    check_folder(path)
    with output.show_progress("backtesting") as on_progress:
        result = forecaster.backtest(
            data=name_source(data, query),
            stride=stride,
            start=start,
            end=end,
            refit_every=refit_every,
            warm_start=warm_start,
            baselines=options.split_names(baselines) or [],
            raw=raw,
            out=path,
            device=device,
            on_progress=on_progress,
        )
    output.print_backtest(result)
    table, summary = result.write(path)
    output.print_path("forecasts", path)
    output.print_path("scores of all groups", table)
    output.print_path("summary", summary)
