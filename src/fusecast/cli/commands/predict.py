from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from fusecast.cli.options import Device, Future, FutureQuery, Partial, Query, Raw, RunFolder


def predict(
    run: RunFolder,
    out: Annotated[
        str | None,
        typer.Option(
            help="File of the forecasts, .parquet or .csv; an address of a database; or a folder, if --data is one.",
            show_default="forecasts.parquet, or the folder forecasts",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="Table of that database to append the forecasts to.", show_default="forecasts"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Newer table with the columns of the fit, or a folder of tables, forecast one by one.",
            show_default="the table of the fit",
        ),
    ] = None,
    query: Query = None,
    future: Future = None,
    future_query: FutureQuery = None,
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
    from fusecast.errors import ConfigError, DatabaseError
    from fusecast.forecaster import Forecaster
    from fusecast.io.databases.address import is_database, without_secrets
    from fusecast.io.databases.writing import FORECASTS, append_forecasts, check_database
    from fusecast.io.sources import name_source
    from fusecast.io.tables import check_apart, check_writable, write_table

    levels = options.split_numbers(quantiles)
    source, plan = name_source(data, query), name_source(future, future_query)
    if data is not None and Path(data).is_dir():
        if out is not None and is_database(out):
            raise DatabaseError.folder_to_database(without_secrets(out))
        if table is not None:
            raise DatabaseError.table_without_database(out or "forecasts")
        if future_query is not None:
            raise DatabaseError.folder_with_query()
        options_of_folder = {"quantiles": levels, "raw": raw, "partial": partial, "device": device, "engine": engine}
        predict_tables(run, data, out or "forecasts", future, options_of_folder)
        return
    if engine != "local":
        raise ConfigError.needs_folder(engine)
    out = out or "forecasts.parquet"
    shown = without_secrets(out)
    if is_database(out):
        check_database(out, table := table or FORECASTS)
    elif table is not None:
        raise DatabaseError.table_without_database(shown)
    else:
        check_writable(out)
    forecaster = Forecaster.load(run)
    check_apart(out, data, future, forecaster.config.data)
    forecasts = forecaster.predict(plan, data=source, quantiles=levels, raw=raw, partial=partial, device=device)
    if table is not None:
        append_forecasts(forecasts, out, run_id=forecaster.run_id, table=table)
        shown = f"{shown}, table {table}, run_id {forecaster.run_id}"
    else:
        write_table(forecasts, out)
    output.print_note_on_raw(forecaster, raw)
    output.print_forecasts(forecasts, shown)


def predict_tables(run: Path, data: str, out: str, future: str | None, options: dict[str, Any]) -> None:
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
