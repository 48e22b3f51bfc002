"""The columns of tables that clients name otherwise than a model, and the rows that an answer brings back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fusecast.data.ids.columns import name_series
from fusecast.data.ids.matching import find_name
from fusecast.data.schema import Role
from fusecast.errors import ConfigError
from fusecast.serving.errors import RequestError

if TYPE_CHECKING:
    from fusecast.data.panel import Panel


def rename_columns(frame: pl.DataFrame | None, columns: Mapping[str, str]) -> pl.DataFrame | None:
    """Return a table with the names of a model; `columns` are names there by names here, those that are absent aside.

    A column that has the name already is left out. Raise a RequestError where two columns would have one name.
    """
    if frame is None:
        return None
    here = {name: new for name, new in columns.items() if name in frame.columns and name != new}
    if repeated := [new for new in here.values() if list(here.values()).count(new) > 1]:
        raise RequestError.wrong_request(f"two columns stand for {repeated[0]!r}", "choose one", field=repeated[0])
    replaced = [name for name in frame.columns if name in here.values() and name not in here]
    return frame.drop(replaced).rename(here)


def keep_series(frame: pl.DataFrame | None, ids: Sequence[str], names: Collection[str] | None) -> pl.DataFrame | None:
    """Return the rows of the series with these names (None: of all); a ConfigError where there is none of a name.

    A name is that of :mod:`fusecast.data.ids.columns`, such as ``a,3`` or ``"a,b",3`` of two id columns. A table
    without the id columns is of all series.
    """
    if frame is None or names is None or not ids or not {*ids} <= {*frame.columns}:
        return frame
    different = frame.select(ids).drop_nulls().unique(maintain_order=True)
    present = name_series(different)
    found = {each: find_name(each, present, len(ids)) for each in names}
    if unknown := [each for each, name in found.items() if name is None]:
        raise ConfigError.unknown("series", unknown[0], present)
    wanted = set(found.values())
    is_wanted = pl.Series("", [name in wanted for name in present], dtype=pl.Boolean)
    return frame.filter(frame.select(ids).join(different.with_columns(is_wanted), on=list(ids), how="left")[""])


def recent_rows(extended: Panel, horizon: int, count: int) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return the last `count` rows of each series before its forecast, and the known columns of the steps after them.

    `extended` ends with the horizon. The second is None where the schema has no known columns.
    """
    ends, schema = extended.lengths - horizon, extended.schema
    rows, kept = extended.crop(np.maximum(ends - count, 0)), np.minimum(ends, count)
    known = schema.names(Role.KNOWN)
    plan = rows.crop(kept).to_frame().select(*schema.id_names, schema.time, *known) if known else None
    return rows.truncate(kept).to_frame(), plan
