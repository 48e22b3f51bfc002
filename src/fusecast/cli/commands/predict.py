from __future__ import annotations

from typing import Annotated

import typer

from fusecast.cli.options import Data, Device, Future, FutureQuery, Partial, Query, Raw, RunFolder


def predict(
    run: RunFolder,
    out: Annotated[
        str, typer.Option(help="File of the forecasts, .parquet or .csv, or the address of a database.")
    ] = "forecasts.parquet",
    table: Annotated[
        str | None,
        typer.Option(help="Table of that database to append the forecasts to.", show_default="forecasts"),
    ] = None,
    data: Data = None,
    query: Query = None,
    future: Future = None,
    future_query: FutureQuery = None,
    quantiles: Annotated[
        str | None, typer.Option(help="Quantile levels, such as 0.05,0.5,0.95.", show_default="those of the fit")
    ] = None,
    raw: Raw = False,
    partial: Partial = False,
    device: Device = None,
) -> None:
    """Forecast the steps after each series' last row."""
    from fusecast.cli import options, output
    from fusecast.errors import DatabaseError
    from fusecast.forecaster import Forecaster
    from fusecast.io.databases.address import is_database, without_secrets
    from fusecast.io.databases.writing import FORECASTS, append_forecasts, check_database
    from fusecast.io.sources import name_source
    from fusecast.io.tables import check_apart, check_writable, write_table

    shown = without_secrets(out)
    if is_database(out):
        check_database(out, table := table or FORECASTS)
    elif table is not None:
        raise DatabaseError.table_without_database(shown)
    else:
        check_writable(out)
    forecaster = Forecaster.load(run)
    check_apart(out, data, future, forecaster.config.data)
    forecasts = forecaster.predict(
        name_source(future, future_query),
        data=name_source(data, query),
        quantiles=options.split_numbers(quantiles),
        raw=raw,
        partial=partial,
        device=device,
    )
    if table is not None:
        append_forecasts(forecasts, out, run_id=forecaster.run_id, table=table)
        shown = f"{shown}, table {table}, run_id {forecaster.run_id}"
    else:
        write_table(forecasts, out)
    output.print_note_on_raw(forecaster, raw)
    output.print_forecasts(forecasts, shown)
