from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from fusecast.cli.options import Device, Future, Partial, Raw, RunFolder


def predict(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File of the forecasts, .parquet or .csv; or a folder, where --data is one.",
            show_default="forecasts.parquet, or the folder forecasts",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Newer table with the columns of the fit, or a folder of tables, forecast one by one.",
            show_default="the table of the fit",
        ),
    ] = None,
    future: Future = None,
    quantiles: Annotated[
        str | None, typer.Option(help="Quantile levels, such as 0.05,0.5,0.95.", show_default="those of the fit")
    ] = None,
    raw: Raw = False,
    partial: Partial = False,
    device: Device = None,
    engine: Annotated[
        str, typer.Option(help="What forecasts a folder: this process, or a Ray cluster.", metavar="[local|ray]")
    ] = "local",
) -> None:
    """Forecast the steps after each series' last row."""
    from fusecast.cli import options, output
    from fusecast.errors import ConfigError
    from fusecast.forecaster import Forecaster
    from fusecast.io.tables import check_apart, check_writable, write_table

    levels = options.split_numbers(quantiles)
    if data is not None and data.is_dir():
        options_of_folder = {"quantiles": levels, "raw": raw, "partial": partial, "device": device, "engine": engine}
        predict_tables(run, data, out or Path("forecasts"), future, options_of_folder)
        return
    if engine != "local":
        raise ConfigError.needs_folder(engine)
    out = out or Path("forecasts.parquet")
    check_writable(out)
    forecaster = Forecaster.load(run)
    check_apart(out, data, future, forecaster.config.data)
    forecasts = forecaster.predict(future, data=data, quantiles=levels, raw=raw, partial=partial, device=device)
    write_table(forecasts, out)
    output.print_note_on_raw(forecaster, raw)
    output.print_forecasts(forecasts, out)


def predict_tables(run: Path, data: Path, out: Path, future: Path | None, options: dict[str, Any]) -> None:
    """Forecast a folder of tables, and print what was done; after Ctrl+C, how to go on."""
    from fusecast.cli import output
    from fusecast.forecaster import Forecaster
    from fusecast.scale.folder import predict_folder

    try:
        with output.show_partitions() as on_progress:
            result = predict_folder(run, data, out, future, **options, on_progress=on_progress)
    except KeyboardInterrupt:
        typer.echo(f"Interrupted: the same command forecasts what is not in {out} yet.", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    output.print_note_on_raw(Forecaster.load(run), options["raw"])
    kept = f", {result.kept:,} of them by an earlier call" if result.kept else ""
    output.print_line(f"Forecast {result.partitions:,} partitions{kept}; {result.rows:,} rows are new.")
    output.print_path("forecasts", out)
