from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    data: Annotated[Path, typer.Argument(help="Table: .csv, .parquet, .feather or .arrow.", show_default=False)],
) -> None:
    """Say what a table holds, and which `fit` command to run next."""
    from fusecast.cli import show
    from fusecast.data.inspect import inspect_table
    from fusecast.data.propose import ID_NAMES
    from fusecast.data.read import read_table

    show.inspection(inspect_table(read_table(data, keys=ID_NAMES)), data)
