from __future__ import annotations

from typing import Annotated

import typer

from fusecast.cli.options import Data, Device, Query, RunFolder


def calibrate(
    run: RunFolder,
    method: Annotated[
        str, typer.Option(help="cqr, split or adaptive; auto chooses by the length of the validation split.")
    ] = "auto",
    data: Data = None,
    query: Query = None,
    device: Device = None,
) -> None:
    """Calibrate a run by another method than its fit, or on a newer table."""
    from fusecast.cli import output
    from fusecast.forecaster import Forecaster
    from fusecast.inference.manifest import refuse_exported
    from fusecast.io.output_dir import check_results_folder
    from fusecast.io.sources import name_source

    refuse_exported(run)
    check_results_folder(run)
    calibration = Forecaster.load(run).calibrate(method, data=name_source(data, query), device=device)  # type: ignore[arg-type]  # checked
    output.print_calibration(calibration, run)
