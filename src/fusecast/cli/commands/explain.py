from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fusecast.cli.options import Data, Device, Future, FutureQuery, Partial, Query, Raw, RunFolder


def explain(
    run: RunFolder,
    data: Data = None,
    query: Query = None,
    series: Annotated[
        list[str] | None,
        typer.Option(help="Explain this series only, and its latest forecast; repeatable.", show_default="all series"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables and figures.", show_default="RUN/explanation")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to explain: test, validation, train, all.")] = "test",
    max_windows: Annotated[int, typer.Option(help="Forecasts at most, evenly spread; 0 for all.")] = 2000,
    permutation: Annotated[
        int, typer.Option(help="Forecasts to permute variables over, as a check; 0 for no check.")
    ] = 300,
    threshold: Annotated[
        float | None,
        typer.Option(help="Distance of the attention from which a forecast is flagged.", show_default="chosen"),
    ] = None,
    future: Future = None,
    future_query: FutureQuery = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(help="Change a known column, such as price=9.9, and forecast again; repeatable."),
    ] = None,
    tables: Annotated[str, typer.Option(help="Format of tables: csv, parquet, arrow.")] = "csv",
    figures: Annotated[str, typer.Option(help="Format of figures: png, svg, pdf, none.")] = "png",
    raw: Raw = False,
    partial: Partial = False,
    device: Device = None,
) -> None:
    """Explain a run's forecasts: variables, lags, regimes, single forecasts, what-if."""
    from fusecast.cli import options, output
    from fusecast.errors import ConfigError
    from fusecast.errors.config import NothingToExplainError
    from fusecast.forecaster import Forecaster
    from fusecast.io.output_dir import check_results_folder
    from fusecast.io.sources import name_source
    from fusecast.io.tables import WRITABLE_ENDINGS
    from fusecast.reporting.explanation_report import write_explanation_tables
    from fusecast.reporting.export import FIGURE_ENDINGS, check_can_draw

    table_kinds, figure_kinds = ([ending[1:] for ending in endings] for endings in (WRITABLE_ENDINGS, FIGURE_ENDINGS))
    if tables not in table_kinds:
        raise ConfigError.not_one_of("the kind of tables", tables, table_kinds)
    if figures not in ("none", *figure_kinds):
        raise ConfigError.not_one_of("the kind of figures", figures, ["none", *figure_kinds])
    if figures != "none":
        check_can_draw()
    folder = out or options.place_of_results(run) / "explanation"
    changes = options.parse_changes(what_if or [])
    forecaster = Forecaster.load(run)
    check_results_folder(folder)
    plan = name_source(future, future_query)
    how: dict[str, Any] = {"data": name_source(data, query), "raw": raw, "partial": partial, "device": device}
    forecasts = [forecaster.explain_forecast(name, plan, **how) for name in series or ()]
    comparison = None
    if changes:
        comparison = forecaster.what_if(changes, plan, series=series or None, **how)
    explanation = None
    try:
        with output.show_progress("permuting") as on_progress:
            explanation = forecaster.explain(
                data=how["data"],
                series=series or None,
                split=split,  # type: ignore[arg-type]  # checked there
                max_windows=max_windows or None,
                permutation=permutation,
                threshold=threshold,
                device=device,
                on_progress=on_progress,
            )
    except NothingToExplainError as error:  # series too new for the split
        if not forecasts and comparison is None:
            raise
        note = str(error)
    more = {} if comparison is None else {"what_if": comparison}
    for i, forecast in enumerate(forecasts, start=1):
        more |= {f"series_{i}_{name}": table for name, table in forecast.tables().items()}
    if explanation is not None:
        explanation.write(folder, table=tables, figure=None if figures == "none" else figures, more=more)
        output.print_explanation(explanation)
    else:
        write_explanation_tables(more, folder, tables)
        output.print_line(f"Note: {note}\n")
    for forecast in forecasts:
        output.print_line(f"{forecast.words}\n")
    if comparison is not None:
        output.print_what_if(comparison, what_if or [])
    output.print_path("tables and figures", folder)
