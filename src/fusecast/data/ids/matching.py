"""Ids of a newer table, a plan or a user that are written otherwise than in the training: 007, "7" and 7.0 for 7."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fusecast.data.ids.columns import ids_to_array, join_name, number_series, read_id_column, split_name, split_names
from fusecast.data.issues import Issues
from fusecast.data.parsing import match_levels, to_boolean, to_number, to_text
from fusecast.errors import DataError, DataNote, DataWarning
from fusecast.errors.base import warn

if TYPE_CHECKING:
    from fusecast.data.panel import Panel

BOOLEANS = ("true", "false")


def match_ids(texts: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Return for each text of one id column the known one that it is another spelling of; itself where it is of none.

    Where all known ones are numbers, `7`, `007` and `7.0` are the same, unless two known ones are the same number;
    where they are true and false, their spellings.
    """
    readers = (to_boolean,) if set(known) <= {*BOOLEANS} else (to_number,)
    return match_levels(texts, known, readers)


def unify_ids(frame: pl.DataFrame, names: Sequence[str], types: Sequence[str], known: Sequence[str]) -> pl.DataFrame:
    """Return a newer table in which ids are written as in the training, and have the same types as there.

    `known` are names of series, `types` those of the id columns in the training, () where they were not recorded. Ids
    that cannot have that type stay text. A DataNote names those that were written otherwise; raise a DataError where
    two ids of the table are the same series.
    """
    known_texts = split_names(known, names)
    for name, type_ in zip(names, types or [""] * len(names), strict=True):
        if name not in frame.columns or kind_of(str(frame[name].dtype)) == kind_of(type_) != "text":
            continue
        column = frame[name]
        text = to_text(read_id_column(column, Issues()), Issues())
        texts = text.unique().drop_nulls().sort().to_list()
        matched = match_ids(texts, known_texts[name].unique().sort().to_list())
        refuse_alike(name, matched)
        note_matched(name, matched)
        if kind_of(type_) in (kind_of(str(column.dtype)), ""):
            if all(one == other for one, other in matched.items()):
                continue
            frame = frame.with_columns(text.replace(matched).alias(name))
        else:
            frame = frame.with_columns(cast_ids(text.replace(matched), type_).alias(name))
    return frame


def unify_panel(panel: Panel, unify: Callable[[pl.DataFrame], pl.DataFrame], types: Sequence[str]) -> Panel:
    """Return the panel of a table in which `unify` has changed the ids, as :func:`unify_ids` does.

    Series are in the order of the changed ids. `types` are as in :func:`unify_ids`.
    """
    ids = pl.DataFrame(panel.ids_of(np.arange(panel.num_series)))
    unified = unify(ids)
    if unified.schema == ids.schema and unified.equals(ids):
        return panel
    columns, series = number_series(unified)
    if (np.diff(series) < 0).any():
        panel = panel.select(np.argsort(series))
    schema = replace(panel.schema, id_types=tuple(types) or tuple(map(str, columns.dtypes)))
    return replace(panel, schema=schema, ids=ids_to_array(columns), id_columns=columns)


def note_matched(name: str, matched: dict[str, str]) -> None:
    """Print which ids of a column are written in another way than the known ones that they are."""
    if other := {text: known for text, known in matched.items() if text != known}:
        warn(DataNote.ids_spelled_otherwise(name, other))


def refuse_alike(name: str, matched: dict[str, str]) -> None:
    """Raise a DataError where two ids of a column are one known id, which one of them may not be at all."""
    for known in dict.fromkeys(matched.values()):
        spellings = [text for text, meant in matched.items() if meant == known]
        if len(spellings) > 1:
            raise DataError.ids_alike(name, spellings, known)


def warn_of_ids_alike(panel: Panel) -> None:
    """Warn of text ids of a table that are the same number, such as 7 and 007: they are different series."""
    ids = split_names(panel.names, panel.schema.id_names) if panel.ids.dtype.kind == "U" else pl.DataFrame()
    for column in ids.iter_columns():
        texts = column.unique().sort()
        by_number: dict[str, list[str]] = {}
        for text in texts.filter(texts.str.contains(r"^\s*[+-]?[\d.]+\s*$")).to_list():
            if (number := to_number(text)) is not None:
                by_number.setdefault(number, []).append(text)
        if alike := [each for each in by_number.values() if len(each) > 1]:
            warn(DataWarning.ids_alike(column.name, alike))


def find_name(id_: object, names: Sequence[str], count: int) -> str | None:
    """Return which of the `names` of series an id is: a value, or one for each of `count` id columns; None for none.

    Several values may also be written as a name, ``a,3``.
    """
    values = id_ if isinstance(id_, tuple | list) and count > 1 else [id_]
    parts: list[str | None] = [_to_text(value) for value in values]
    if len(parts) == 1 and isinstance(id_, str):
        if id_ in names:
            return id_
        parts = [*split_name(id_, count)]
    if len(parts) != count or None in parts:
        return None
    known = split_names(names, [str(number) for number in range(count)])
    matched = [
        match_ids([str(part)], column.unique().sort().to_list())[str(part)]
        for part, column in zip(parts, known.iter_columns(), strict=True)
    ]
    name = join_name(matched)
    return name if name in names else None


def _to_text(value: object) -> str | None:
    """Return the text of an id, as in the name of a series."""
    try:
        return to_text(pl.Series([value]), Issues()).to_list()[0]  # type: ignore[no-any-return]
    except (TypeError, pl.exceptions.PolarsError):
        return str(value)


def kind_of(type_: str) -> str:
    """Return the kind of a type of polars, by its name: types of one kind hold the same ids."""
    name = type_.partition("(")[0]
    return "text" if name in ("String", "Categorical", "Enum") else name.lower().rstrip("0123456789").lstrip("u")


def cast_ids(text: pl.Series, type_: str) -> pl.Series:
    """Return ids of a type of polars, by its name, from their text; as text where one of them has another type."""
    kind = kind_of(type_)
    if kind == "date":
        ids = text.str.replace(" 00:00:00(\\.0+)?$", "").str.to_date("%Y-%m-%d", strict=False)
    elif kind == "boolean":
        ids = text.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    elif kind in ("int", "float"):
        ids = text.cast(getattr(pl, type_), strict=False)
    else:
        return text
    return text if ids.null_count() > text.null_count() else ids
