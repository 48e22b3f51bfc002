from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusecast.cli import options

Text = Annotated[str | None, typer.Option(show_default=False)]


def fit(
    data: Annotated[Path | None, typer.Argument(help="Table to learn from.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="New folder for the run.", show_default=False)] = Path("run"),
    horizon: Annotated[int | None, typer.Option(help="Steps to forecast.", show_default=False)] = None,
    lookback: Annotated[int | None, typer.Option(help="Steps of history the network sees.", show_default=False)] = None,
    id: Annotated[  # noqa: A002  the option's name
        str | None, typer.Option(help="Column that names the series [unique_id, where there is one].")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of times or integer steps [ds].")] = None,
    target: Annotated[str | None, typer.Option(help="Column(s) to forecast [y].")] = None,
    static: Annotated[str | None, typer.Option(help="Columns with one value a series: a,b.")] = None,
    known: Annotated[str | None, typer.Option(help="Columns known in the future: c,d.")] = None,
    observed: Annotated[str | None, typer.Option(help="Columns known up to the present only: e,f.")] = None,
    categorical: Annotated[
        str | None, typer.Option(help="Which of these are categories, though they are numbers.")
    ] = None,
    frequency: Annotated[str | None, typer.Option(help="Length of a step: 30m, 1h, 1d, 1mo, 1i [inferred].")] = None,
    validation: Annotated[
        str | None, typer.Option(help="Part for validation: 0.15 of the rows, 3 horizons, or from a date on.")
    ] = None,
    test: Annotated[str | None, typer.Option(help="Part for the test, likewise.")] = None,
    hidden_size: Annotated[int | None, typer.Option(help="Width of the network [32].")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads [4].")] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of units dropped in training [0.1].")] = None,
    quantiles: Annotated[str | None, typer.Option(help="Quantile levels [0.1,0.5,0.9].")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate [0.001].")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a step [64].")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most [20].")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps at most.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Minutes of training at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random [42].")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML of a run; options given here win over it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other option of the YAML: section.name=value.")
    ] = None,
) -> None:
    """Train a Temporal Fusion Transformer on a table."""
    from fusecast.cli import output
    from fusecast.config import RunConfig, merged, read_yaml
    from fusecast.forecaster import Forecaster
    from fusecast.runtime.distributed import is_first_process

    asked = options.given(
        {
            "data": str(data.resolve()) if data else None,
            "horizon": horizon,
            "lookback": lookback,
            "table": {
                "id": id,
                "time": time,
                "target": options.names(target),
                "static": options.names(static),
                "known": options.names(known),
                "observed": options.names(observed),
                "categorical": options.names(categorical),
                "frequency": frequency,
            },
            "split": {
                "validation": validation and options.plain(validation),
                "test": test and options.plain(test),
            },
            "network": {
                "hidden_size": hidden_size,
                "num_heads": heads,
                "dropout": dropout,
                "quantiles": options.numbers(quantiles),
            },
            "training": {
                "learning_rate": lr,
                "batch_size": batch_size,
                "max_epochs": epochs,
                "max_steps": max_steps,
                "max_minutes": max_minutes,
                "seed": seed,
            },
        }
    )
    if resume:
        config = config or run_to_resume(out)
    base = read_yaml(config) if config else {}
    forecaster = Forecaster.from_config(RunConfig.parse(merged(merged(base, asked), options.assignments(set_ or []))))
    if not is_first_process():  # of a run on several devices
        forecaster.fit(folder=out, resume=resume)
        return
    if not resume:
        refuse_to_overwrite(out)
    output.plan(forecaster.prepare())
    forecaster.fit(folder=out, resume=resume)
    output.fitted(forecaster, out)


def run_to_resume(folder: Path) -> Path:
    """Give the configuration of the run in a folder.

    Raises
    ------
    TrainingError
        If there is none.
    """
    from fusecast.errors import TrainingError
    from fusecast.forecaster import RUN_FILE

    if not (folder / RUN_FILE).is_file():
        raise TrainingError.nothing_to_resume(folder)
    return folder / RUN_FILE


def refuse_to_overwrite(folder: Path) -> None:
    """Raise an ArtifactError where a run is in the way: a trained model is never lost."""
    from fusecast.errors import ArtifactError
    from fusecast.forecaster import RUN_FILE

    if (folder / RUN_FILE).exists():
        raise ArtifactError.run_in_the_way(folder)
