from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusecast.errors import ConfigError

if TYPE_CHECKING:
    from fusecast.interop.rules import Matching


def migrate(
    old: Annotated[Path, typer.Argument(help="Old weights: .pth, .pt, .ckpt or .safetensors.", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="Checkpoint to write [none].", show_default=False)] = None,
    kind: Annotated[
        str, typer.Option("--from", help="native, scripts, nvidia, pytorch-forecasting, or auto to tell by the names.")
    ] = "auto",
    config: Annotated[
        Path | None,
        typer.Option(
            help="JSON or YAML that describes the old network, for what tensors do not say.", show_default=False
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--set", help="A size that nothing else says: horizon=24, lookback=168, quantiles=[0.1,0.5,0.9]."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take what matches, leave the rest untrained.")] = False,
) -> None:
    """Take over weights that were trained elsewhere; nothing in the old file is executed."""
    from fusecast.cli import output
    from fusecast.cli.options import assignments
    from fusecast.interop.conversion import PartialMatchError, convert

    described = {} if config is None else _read(config)
    given = assignments(sizes or [])
    try:
        migration = convert(old, to, kind=kind, config=described, sizes=given, partial=partial)
    except PartialMatchError as error:
        _print(error.matching, old)
        raise
    _print(migration.matching, old)
    for note in migration.notes:
        output.console.print(f"Note: {note}", markup=False)
    output.console.print(f"These are weights of kind {migration.kind}.")
    if migration.path is not None:
        output.written("checkpoint", migration.path)


def _print(matching: Matching, old: Path) -> None:
    from fusecast.cli import output

    rows = [[row.status, row.name, _short(row.made_of), row.detail] for row in matching.rows]
    output.table(f"Tensors of {old.name}", ["", "name", "made of", "shape, or why"], rows, numbers_from=9)
    counts = [f"{matching.count(status)} {status}" for status in ("matched", "missing", "unexpected", "wrong shape")]
    output.console.print(", ".join(counts))


def _short(made_of: tuple[str, ...]) -> str:
    return made_of[0] + (f" and {len(made_of) - 1} more" if len(made_of) > 1 else "") if made_of else ""


def _read(path: Path) -> Mapping[str, Any]:
    from fusecast.config import read_yaml

    if path.suffix != ".json":
        return read_yaml(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError.unreadable(path, str(error)) from None
    if not isinstance(values, dict):
        raise ConfigError.unreadable(path, "it holds no options, but " + type(values).__name__)
    return values
