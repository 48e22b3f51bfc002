from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def fit(
    ctx: typer.Context,
    data: Annotated[
        str | None, typer.Argument(help="Table to train on: a file, or a database with --query.", show_default=False)
    ] = None,
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
    from fusecast.config import EARLIER_DEFAULTS
    from fusecast.errors import ConfigError, TrainingError
    from fusecast.io.option_files import read_options
    from fusecast.io.sources import locate
    from fusecast.workflows.fit import RUN_FILE

    if resume and config is None:
        config = out / RUN_FILE
        if not config.is_file():
            raise TrainingError.nothing_to_resume(out)
    read = {} if config is None else read_options(config)
    if resume and not read:
        raise ConfigError.unreadable(config, "it is empty")
    options = ctx.ensure_object(dict)  # see ConfigCommand
    if data is not None:
        options = {"query": None} | options | {"data": str(locate(data))}
    earlier = EARLIER_DEFAULTS if resume else {}
    train(earlier, read, options, parse_assignments(set_ or []), folder=out, resume=resume)


def train(*layers: Mapping[str, Any], folder: Path, resume: bool = False) -> None:
    """Train the run that layers of options configure, the later ones on top, and print what was learned.

    An ArtifactError is raised if the folder holds a run that is not to be resumed: a trained model is never lost.
    """
    from fusecast.cli import output
    from fusecast.config import RunConfig
    from fusecast.errors import ArtifactError
    from fusecast.forecaster import Forecaster
    from fusecast.runtime.distributed import is_first_process
    from fusecast.workflows.fit import RUN_FILE

    forecaster = Forecaster.from_config(RunConfig.parse(*layers))
    is_first = is_first_process()  # the only one, unless the run is on several devices
    if is_first and not resume and (folder / RUN_FILE).exists():
        raise ArtifactError.run_exists(folder)
    if is_first:
        output.print_plan(forecaster.prepare())
    forecaster.fit(folder=folder, resume=resume)
    if is_first:
        output.print_training(forecaster, folder)
