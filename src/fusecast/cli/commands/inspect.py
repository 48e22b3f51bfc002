from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    data: Annotated[Path, typer.Argument(help="Table: .csv, .parquet, .feather or .arrow.", show_default=False)],
) -> None:
    """Describe a table, and propose the `fit` command to run next."""
    from fusecast.cli import output
    from fusecast.data.ids.search import ID_NAMES
    from fusecast.data.inspection import inspect_table
    from fusecast.io.tables import read_table

    output.print_inspection(inspect_table(read_table(data, keys=ID_NAMES)), data)
