"""The command line: one verb a file, heavy libraries loaded only by the verb that needs them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fusecast._version import __version__
from fusecast.cli.commands import backtest, calibrate, demo, evaluate, explain, fit, inspect, migrate, predict, report
from fusecast.errors import FusecastError
from fusecast.errors.artifact import os_errors_as_messages

app = typer.Typer(
    name="fusecast",
    help="Forecast a table of time series with the Temporal Fusion Transformer.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fusecast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None: ...


app.command("inspect")(inspect.inspect)
app.command("fit")(fit.fit)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("backtest")(backtest.backtest)
app.command("calibrate")(calibrate.calibrate)
app.command("explain")(explain.explain)
app.command("report")(report.report)
app.command("migrate")(migrate.migrate)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line; what a user can mend is said in words and ends with code 2."""
    try:
        with os_errors_as_messages():
            app()
    except FusecastError as error:
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        sys.exit(2)
