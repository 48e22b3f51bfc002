from __future__ import annotations

from typing import Annotated

import typer

from fusecast.cli.options import Data, Device, Query, Raw, RunFolder


def evaluate(
    run: RunFolder,
    data: Data = None,
    query: Query = None,
    stride: Annotated[int | None, typer.Option(help="Steps between cutoffs.", show_default="the horizon")] = None,
    raw: Raw = False,
    device: Device = None,
) -> None:
    """Evaluate a run on its test split, beside seasonal naive forecasts."""
    from fusecast.cli import options, output
    from fusecast.forecaster import Forecaster
    from fusecast.io.sources import name_source

    forecaster = Forecaster.load(run)
    with output.show_progress("evaluating") as on_progress:
        evaluation = forecaster.evaluate(
            data=name_source(data, query), stride=stride, raw=raw, device=device, on_progress=on_progress
        )
    output.print_note_on_raw(forecaster, raw)
    output.print_scores(evaluation)
    output.print_networks(forecaster)
    path = options.place_of_results(run) / "metrics.json"
    evaluation.write(path)
    output.print_path("metrics", path)
