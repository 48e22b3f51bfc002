from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Table to judge on, grown since the fit [the run's own].")] = None,
    stride: Annotated[int | None, typer.Option(help="Steps between cutoffs [the horizon].", show_default=False)] = None,
) -> None:
    """Judge a run on its test span, beside seasonal-naive forecasts."""
    from fusecast.cli import output
    from fusecast.forecaster import Forecaster

    with output.progress("judging") as on_progress:
        evaluation = Forecaster.load(run).evaluate(data=data, stride=stride, on_progress=on_progress)
    (run / "metrics.json").write_text(json.dumps(evaluation.to_dict(), indent=2), encoding="utf-8")
    output.evaluation(evaluation, run / "metrics.json")
