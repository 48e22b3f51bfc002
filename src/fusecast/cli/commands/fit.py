from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def fit(
    ctx: typer.Context,
    data: Annotated[Path | None, typer.Argument(help="Table to train on.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="New folder for the run.")] = Path("run"),
    config: Annotated[
        Path | None, typer.Option(help="YAML file of a run; options given here override it.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out where it stopped.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other option of the YAML file: section.name=value; repeatable.", show_default=False
        ),
    ] = None,
) -> None:
    """Train a Temporal Fusion Transformer on a table."""
    from fusecast.cli.options import parse_assignments
    from fusecast.config import read_yaml

    if resume:
        config = config or require_run_file(out)
    options = ctx.ensure_object(dict)  # see ConfigCommand
    if data is not None:
        options["data"] = str(data.resolve())
    train(read_yaml(config) if config else {}, options, parse_assignments(set_ or []), folder=out, resume=resume)


def train(*layers: Mapping[str, Any], folder: Path, resume: bool = False) -> None:
    """Train the run that layers of options configure, the later ones on top, and print what was learned."""
    from fusecast.cli import output
    from fusecast.config import RunConfig
    from fusecast.errors.training import TrainingInterrupted
    from fusecast.forecaster import Forecaster
    from fusecast.runtime.distributed import is_first_process

    forecaster = Forecaster.from_config(RunConfig.parse(*layers))
    is_first = is_first_process()  # the only one, unless the run is on several devices
    if is_first and not resume:
        refuse_to_overwrite(folder)
    if is_first:
        output.print_plan(forecaster.prepare())
    try:
        forecaster.fit(folder=folder, resume=resume)
    except TrainingInterrupted as interruption:
        if is_first:
            typer.secho(str(interruption), err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    if is_first:
        output.print_training(forecaster, folder)


def require_run_file(folder: Path) -> Path:
    """Return the configuration file of the run in a folder.

    Raises
    ------
    TrainingError
        If the folder holds no run.
    """
    from fusecast.errors import TrainingError
    from fusecast.workflows.fit import RUN_FILE

    if not (folder / RUN_FILE).is_file():
        raise TrainingError.nothing_to_resume(folder)
    return folder / RUN_FILE


def refuse_to_overwrite(folder: Path) -> None:
    """Raise an ArtifactError if a folder holds a run: a trained model is never lost."""
    from fusecast.errors import ArtifactError
    from fusecast.workflows.fit import RUN_FILE

    if (folder / RUN_FILE).exists():
        raise ArtifactError.run_exists(folder)
