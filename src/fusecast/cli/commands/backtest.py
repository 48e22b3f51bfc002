from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def backtest(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Table to judge on [the run's own].", show_default=False)] = None,
    stride: Annotated[int, typer.Option(help="Steps between origins.")] = 1,
    start: Annotated[
        str | None, typer.Option(help="First step to forecast, a date or time [the test span].", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="No step at or after it is forecast [the end].", show_default=False)
    ] = None,
    refit_every: Annotated[
        int | None, typer.Option(help="Train anew after so many origins [never].", show_default=False)
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train anew from the beginning, not from the weights.")
    ] = False,
    baselines: Annotated[
        str, typer.Option(help="Any of last,seasonal,drift,mean,ets,theta,lightgbm.")
    ] = "last,seasonal,drift,mean",
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Judge the calibrated quantiles too, beside the model's own.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Parquet file of all forecasts [RUN/backtest.parquet].", show_default=False)
    ] = None,
) -> None:
    """Forecast from rolling origins over a span of time, and judge it beside baselines."""
    from fusecast.cli import options, output
    from fusecast.forecaster import Forecaster
    from fusecast.io.tables import check_folder

    path = out or run / "backtest.parquet"
    forecaster = Forecaster.load(run)
    check_folder(path)
    with output.progress("backtesting") as on_progress:
        result = forecaster.backtest(
            data=data,
            stride=stride,
            start=start,
            end=end,
            refit_every=refit_every,
            warm=not fresh,
            baselines=options.names(baselines) or [],
            calibrated=calibrated,
            out=path,
            on_progress=on_progress,
        )
    table, summary = result.write(path)
    output.backtest(result)
    output.written("forecasts", path)
    output.written("scores of all groups", table)
    output.written("summary", summary)
