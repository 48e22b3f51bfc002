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
    onnx: Annotated[
        Path | None, typer.Option(help="ONNX file: raw values in, forecasts out.", show_default=False)
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="ONNX: importances and attention as outputs too.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="ONNX: the networks alone, without blend and calibration.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="ONNX: weights of 8 bits, with the loss printed.")] = False,
    data: Data = None,
    query: Query = None,
    no_scores: Annotated[
        bool, typer.Option("--no-scores", help="Leave the table unread, and the model card without scores.")
    ] = False,
    device: Device = None,
) -> None:
    """Export a run as a bundle or as an ONNX file, to forecast with elsewhere."""
    from fusecast.cli import output
    from fusecast.errors import ArtifactError, ConfigError
    from fusecast.export.bundle import check_replaceable
    from fusecast.forecaster import Forecaster
    from fusecast.io.sources import name_source
    from fusecast.io.tables import check_folder

    if to is None and onnx is None:
        raise ConfigError.nothing_to_export()
    if to is not None:
        check_replaceable(to)
    if onnx is not None:
        if onnx.suffix.lower() != ".onnx":
            raise ArtifactError.unknown_ending(onnx, [".onnx"])
        check_folder(onnx)
    forecaster = Forecaster.load(run)
    if to is not None:
        forecaster.export(to, data=name_source(data, query), scores=not no_scores, device=device)
        output.print_path("bundle", to)
        output.print_path("model card", to / "MODEL_CARD.md")
        output.print_next(f"predict {to} --data TABLE")
    if onnx is not None:
        exported = forecaster.export_onnx(onnx, explain=explain, raw=raw, int8=int8)
        output.print_path(f"graph of {exported.size / 1e6:,.1f} MB", onnx)
        output.print_line(exported.words)
