"""The command line: one verb a file; each loads the heavy libraries it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from fusecast._version import __version__
from fusecast.cli.commands import (
    backtest,
    calibrate,
    demo,
    evaluate,
    explain,
    export,
    fit,
    inspect,
    migrate,
    predict,
    report,
    serve,
    ui,
)
from fusecast.cli.options import Command, ConfigCommand
from fusecast.errors import ArtifactError, FusecastError
from fusecast.errors.artifact import translate_os_errors

app = typer.Typer(
    name="fusecast",
    help="Forecast a table of time series with the Temporal Fusion Transformer.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"fusecast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


for module in (inspect, fit, predict, evaluate, backtest, calibrate, explain, report, export, serve, ui, migrate, demo):
    verb = module.__name__.rpartition(".")[2]
    app.command(cls=ConfigCommand if module is fit else Command)(getattr(module, verb))


def _flush_output() -> None:
    """Raise an ArtifactError where what was printed cannot be written, such as into a file on a full disk."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        if isinstance(error, BrokenPipeError):  # nobody reads on, as with `| head`
            return
        raise ArtifactError.refused_by_system("the output", error.strerror or str(error)) from error


def main() -> None:
    """Run the command line; an error that the user can correct is printed, with exit code 2."""
    try:
        with translate_os_errors():
            try:
                app()
            finally:
                _flush_output()
    except FusecastError as error:
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        sys.exit(2)
