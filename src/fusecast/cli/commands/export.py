from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusecast.cli.options import Data, Device, Query, RunFolder


def export(
    run: RunFolder,
    to: Annotated[
        Path | None,
        typer.Option(help="Folder of a bundle: all that forecasts need, a model card, checksums.", show_default=False),
    ] = None,
    data: Data = None,
    query: Query = None,
    no_scores: Annotated[
        bool, typer.Option("--no-scores", help="Leave the table unread, and the model card without scores.")
    ] = False,
    device: Device = None,
) -> None:
    """Export a run as a bundle, to forecast with elsewhere."""
    from fusecast.cli import output
    from fusecast.errors import ConfigError
    from fusecast.export.bundle import check_replaceable
    from fusecast.forecaster import Forecaster
    from fusecast.io.sources import name_source

    if to is None:
        raise ConfigError.nothing_to_export()
    check_replaceable(to)
    forecaster = Forecaster.load(run)
    forecaster.export(to, data=name_source(data, query), scores=not no_scores, device=device)
    output.print_path("bundle", to)
    output.print_path("model card", to / "MODEL_CARD.md")
    output.print_next(f"predict {to} --data TABLE")
