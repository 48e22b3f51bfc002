from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="New folder for the demo's run.")] = Path("demo"),
    max_minutes: Annotated[float, typer.Option(help="Minutes of training at most.")] = 2.5,
) -> None:
    """Fit, evaluate, predict and report on the bundled bike-sharing data."""
    from fusecast.cli.commands import evaluate, fit, predict, report
    from fusecast.data.samples import sample_future_path, sample_path

    fit.train(
        {
            "data": str(sample_path("bike_sharing")),
            "horizon": 24,
            "lookback": 168,
            "table": {
                "known": ["holiday", "workingday"],
                "observed": ["weather", "temp", "atemp", "hum", "windspeed"],
            },
            "training": {"learning_rate": 0.002, "max_minutes": max_minutes},
        },
        folder=out,
    )
    evaluate.evaluate(out)
    predict.predict(out, out=str(out / "forecasts.parquet"), future=str(sample_future_path("bike_sharing")))
    report.report(out)
