from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fusecast.interop.rules import Matching


def migrate(
    old: Annotated[Path, typer.Argument(help="Old weights: .pth, .pt, .ckpt or .safetensors.", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="Checkpoint to write.", show_default="none")] = None,
    kind: Annotated[
        str,
        typer.Option("--from", help="native, scripts, nvidia or pytorch-forecasting; auto decides by tensor names."),
    ] = "auto",
    config: Annotated[
        Path | None,
        typer.Option(help="JSON or YAML file with the sizes that the tensors do not have.", show_default=False),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A size that is in neither: horizon=24, lookback=168, quantiles=[0.1,0.5,0.9]; repeatable.",
            show_default=False,
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Convert the tensors that match, leave the rest untrained.")
    ] = False,
) -> None:
    """Convert weights that were trained elsewhere; nothing in the old file is executed."""
    from fusecast.cli import output
    from fusecast.cli.options import parse_assignments
    from fusecast.config_text import read_options
    from fusecast.interop.conversion import PartialMatchError, convert

    described = {} if config is None else read_options(config)
    try:
        migration = convert(old, to, kind=kind, config=described, sizes=parse_assignments(sizes or []), partial=partial)
    except PartialMatchError as error:
        _print_matching(error.matching, old)
        raise
    _print_matching(migration.matching, old)
    for note in migration.notes:
        output.print_line(f"Note: {note}")
    output.print_line(f"These are weights of kind {migration.kind}.")
    if migration.path is not None:
        output.print_path("checkpoint", migration.path)


def _print_matching(matching: Matching, old: Path) -> None:
    from fusecast.cli import output

    rows = []
    for row in matching.rows:
        more = f" and {len(row.sources) - 1} more" if len(row.sources) > 1 else ""
        rows.append([row.status, row.name, "".join(row.sources[:1]) + more, row.detail])
    output.print_table(f"Tensors of {old.name}", ["", "name", "made of", "shape, or why"], rows)
    counts = [f"{matching.count(status)} {status}" for status in ("matched", "missing", "unexpected", "wrong shape")]
    output.print_line(", ".join(counts))
