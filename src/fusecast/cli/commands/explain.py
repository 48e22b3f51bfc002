from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Table, grown since the fit [the run's own].")] = None,
    series: Annotated[
        list[str] | None, typer.Option(help="Look at this series only, and explain its latest forecast; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables and figures [RUN/explanation].", show_default=False)
    ] = None,
    part: Annotated[str, typer.Option(help="Span to explain: test, validation, train, all.")] = "test",
    windows: Annotated[int, typer.Option(help="Forecasts at most, evenly spread; 0 is all.")] = 2000,
    shuffle: Annotated[int, typer.Option(help="Forecasts to shuffle variables over, as a check; 0 is none.")] = 300,
    threshold: Annotated[
        float | None, typer.Option(help="Distance from which a forecast is flagged [chosen].", show_default=False)
    ] = None,
    future: Annotated[Path | None, typer.Option(help="Table of the known columns for the steps to forecast.")] = None,
    what_if: Annotated[
        list[str] | None, typer.Option(help="Change a known column, such as price=9.9, and forecast anew; repeatable.")
    ] = None,
    tables: Annotated[str, typer.Option(help="Kind of tables: csv, parquet, arrow.")] = "csv",
    figures: Annotated[str, typer.Option(help="Kind of figures: png, svg, pdf, none.")] = "png",
) -> None:
    """Say what a run looks at and why: variables, lags, regimes, single forecasts, what-if."""
    from fusecast.cli import options, output
    from fusecast.errors import ConfigError
    from fusecast.errors.config import NothingToExplainError
    from fusecast.explain.explanation import write_tables
    from fusecast.forecaster import Forecaster
    from fusecast.io.output_dir import check_results
    from fusecast.io.tables import ENDINGS
    from fusecast.reporting.explanation_figures import ENDINGS as FIGURES
    from fusecast.reporting.explanation_figures import check_installed

    if f".{tables}" not in ENDINGS:
        raise ConfigError.not_one_of("the kind of tables", tables, [ending[1:] for ending in ENDINGS])
    if figures != "none" and f".{figures}" not in FIGURES:
        raise ConfigError.not_one_of("the kind of figures", figures, ["none", *(ending[1:] for ending in FIGURES)])
    if figures != "none":
        check_installed()
    folder = out or run / "explanation"
    changes = options.changes(what_if or [])
    forecaster = Forecaster.load(run)
    check_results(folder)
    single = [forecaster.explain_forecast(name, future, data=data) for name in series or ()]
    moved = forecaster.what_if(changes, future, data=data, series=series or None) if changes else None
    found, note = None, ""
    try:
        with output.progress("shuffling") as on_progress:
            found = forecaster.explain(
                data=data,
                series=series or None,
                part=part,
                max_windows=windows or None,
                permutation=shuffle,
                threshold=threshold,
                on_progress=on_progress,
            )
    except NothingToExplainError as error:
        if not single and moved is None:
            raise
        note = str(error)
    more = {f"series_{n + 1}_{kind}": table for n, one in enumerate(single) for kind, table in one.tables().items()}
    if moved is not None:
        more["what_if"] = moved
    if found is not None:
        found.write(folder, table=tables, figure=None if figures == "none" else figures, more=more)
        output.explanation(found)
    else:  # series too new for the span
        write_tables(more, folder, tables)
        output.paragraph(f"Note: {note}")
    for one in single:
        output.paragraph(one.words)
    if moved is not None:
        output.what_if(moved, what_if or [])
    output.written("tables and figures", folder)
