"""The options of the command line: fields of a run's configuration, options of several commands, and their parsing."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperCommand

from fusecast.errors.training import TrainingInterrupted

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

CONFIG_OPTIONS: Mapping[str, Sequence[str]] = {
    "": ("query", "horizon", "lookback", "calibration", "blend", "time_budget"),
    "table": ("id", "time", "target", "static", "known", "observed", "categorical", "weight", "frequency", "streaming"),
    "split": ("validation", "test"),
    "features": ("country",),
    "network": ("hidden_size", "num_heads", "dropout", "quantiles"),
    "training": (
        *("learning_rate", "batch_size", "max_epochs", "max_steps", "max_minutes", "members", "final", "seed"),
        *("accelerator", "devices"),
    ),
}
"""Fields of the configuration that `fit` has an option for, by section; ``--set`` reaches all others."""

OLD_SPELLINGS: Mapping[str, str] = {
    "--lr": "--learning-rate",
    "--heads": "--num-heads",
    "--epochs": "--max-epochs",
    "--fresh": "--no-warm-start",
    "--part": "--split",
    "--windows": "--max-windows",
    "--shuffle": "--permutation",
}
"""Options of earlier versions that still work, and are not listed by ``--help``."""

RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Data = Annotated[
    str | None, typer.Option(help="Newer table with the columns of the fit.", show_default="the table of the fit")
]
Query = Annotated[
    str | None, typer.Option(help="SQL of its rows, where --data is the address of a database.", show_default=False)
]
FutureQuery = Annotated[
    str | None, typer.Option(help="SQL of its rows, where --future is the address of a database.", show_default=False)
]
Future = Annotated[
    str | None,
    typer.Option(
        help="Table of the known columns for the steps to forecast.",
        show_default="the last rows of the table, where they have no target",
    ),
]
Device = Annotated[
    str | None, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:1 or mps.", show_default="auto")
]

Partial = Annotated[
    bool, typer.Option("--partial", help="Mask known values that --future lacks, whole rows and columns too.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Quantiles of the networks themselves, without the calibration.")]


class Command(TyperCommand):
    """A command that accepts the old spellings of its options, and exits with 130 where training was interrupted."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace old spellings, then parse."""
        options = {option for param in self.get_params(ctx) for option in (*param.opts, *param.secondary_opts)}
        current = []
        for arg in args:
            name, equals, value = arg.partition("=")
            new = OLD_SPELLINGS.get(name)
            current.append(new + equals + value if new in options else arg)
        return super().parse_args(ctx, current)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print the hint of an interruption once, whatever the number of processes."""
        from fusecast.cli.output import print_warnings

        try:
            with print_warnings():
                return super().invoke(ctx)
        except TrainingInterrupted as interruption:
            from fusecast.runtime.distributed import is_first_process

            if is_first_process():
                typer.secho(str(interruption), err=True)
            raise typer.Exit(128 + signal.SIGINT) from None


class ConfigCommand(Command):
    """A command that has the fields of ``CONFIG_OPTIONS`` as options, beside those of its function.

    ``ctx.obj`` has the values that the user gave, nested by section as in the YAML file. The options are built when the
    command is used, so that ``fusecast --help`` does not load the configuration.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """List all options."""
        return [*_config_parameters(), *super().get_params(ctx)]


@cache
def _config_parameters() -> list[Any]:
    """Build an option from each field: its name, type, default and description."""
    from fusecast.config import RunConfig

    parameters = []
    for section, names in CONFIG_OPTIONS.items():
        config: Any = RunConfig.model_fields[section].annotation if section else RunConfig
        parameters += [_build_option(section, name, config.model_fields[name]) for name in names]

    def declare() -> None: ...

    declare.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    app = typer.Typer(add_completion=False)
    app.command()(declare)
    return typer.main.get_command(app).params


def _build_option(section: str, name: str, field: FieldInfo) -> inspect.Parameter:
    """Declare the option of a field as Typer would find it in a function."""
    kind, parse = _text_type(field.annotation)
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or None
    metavar = "a,b" if parse is split_names else None
    if get_origin(field.annotation) is Literal:
        metavar = f"[{'|'.join(get_args(field.annotation))}]"

    def keep(ctx: typer.Context, value: Any) -> None:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            values = ctx.ensure_object(dict)
            (values.setdefault(section, {}) if section else values)[name] = parse(value)

    words = "--" + name.replace("_", "-")
    option = typer.Option(
        f"{words}/--no-{words[2:]}" if kind is bool else words,
        help=" ".join((field.description or "").replace("`", "").split()),
        callback=keep,
        expose_value=False,
        metavar=metavar,
        rich_help_panel=section.capitalize() or None,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind | None, option]
    )


def _text_type(annotation: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the type of an option on the command line, and how its value becomes that of the field."""
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        lists = [member for member in members if get_origin(member) is tuple]
        if len(members) > 1 and not lists:  # the size of a split
            return str, lambda value: parse_value(str(value))
        annotation = (lists or members)[0]
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is tuple:
        return str, split_numbers if get_args(annotation)[0] is float else split_names
    return annotation if annotation in (int, float, bool) else str, lambda value: value


def place_of_results(run: Path) -> Path:
    """Return the folder that results of a run are written into by default: the run, or the present one for a bundle."""
    from fusecast.inference.manifest import is_exported

    return Path() if is_exported(run) else run


def split_names(text: str | None) -> list[str] | None:
    """Split ``a,b`` into its names; None stays None, and an empty text is an empty list."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def split_numbers(text: str | None) -> list[float] | None:
    """Split ``0.1,0.5`` into its numbers; None stays None."""
    names = split_names(text)
    try:
        return None if names is None else [float(name) for name in names]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 0.1,0.5,0.9") from None


def parse_value(text: str) -> Any:
    """Parse a value as YAML."""
    from fusecast.io.documents import parse_yaml

    try:
        return parse_yaml(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} cannot be read as YAML") from None


def parse_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Parse ``section.name=value`` texts into nested options, their values as YAML."""
    options: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise typer.BadParameter(f"{text!r} is not of the form section.name=value")
        *sections, name = path.strip().split(".")
        section = options
        for key in sections:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise typer.BadParameter(f"{text!r} is an option of {key!r}, which already has a value")
        section[name] = parse_value(value)
    return options


def parse_changes(texts: Sequence[str]) -> dict[str, str | list[str]]:
    """Parse ``column=value`` and ``column=[a,b,c]`` into values by column. They stay text: the column has the type.

    YAML would take a category ``no`` for a truth value, and ``007`` for a number.
    """
    changes: dict[str, str | list[str]] = {}
    for text in texts:
        column, equals, value = (word.strip() for word in text.partition("="))
        if not equals or not column:
            raise typer.BadParameter(f"{text!r} is not of the form column=value")
        if value.startswith("[") and value.endswith("]"):
            changes[column] = [_unquote(item.strip()) for item in value[1:-1].split(",")]
        else:
            changes[column] = _unquote(value)
    return changes


def _unquote(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
