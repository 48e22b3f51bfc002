from __future__ import annotations

from typing import Annotated

import typer


def inspect(
    data: Annotated[
        str,
        typer.Argument(help="Table: .csv, .parquet, .feather, .arrow, or a database with --query.", show_default=False),
    ],
    query: Annotated[
        str | None, typer.Option(help="SQL of its rows, where it is the address of a database.", show_default=False)
    ] = None,
) -> None:
    """Describe a table, and propose the `fit` command to run next."""
    from fusecast.cli import output
    from fusecast.data.ids.search import ID_NAMES
    from fusecast.data.inspection import inspect_table
    from fusecast.io.databases.address import without_secrets
    from fusecast.io.sources import name_source
    from fusecast.io.tables import read_table

    source = name_source(data, query)
    assert source is not None
    output.print_inspection(inspect_table(read_table(source, keys=ID_NAMES)), without_secrets(data), query)
