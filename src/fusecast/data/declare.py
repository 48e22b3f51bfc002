"""Declare: what a user says about the columns of a table becomes a Schema."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from zoneinfo import available_timezones

import polars as pl

from fusecast.data.columns import odd_among_numbers
from fusecast.data.frequency import Frequency, canonical
from fusecast.data.infer import frequency_of, series_codes
from fusecast.data.problems import Problems
from fusecast.data.times import read_times
from fusecast.errors import SchemaError
from fusecast.schema import Column, Kind, Role, Schema


def make_schema(
    frame: pl.DataFrame,
    *,
    id: str | None = "unique_id",  # noqa: A002 - the word of the schema
    time: str = "ds",
    targets: Sequence[str] = ("y",),
    static: Sequence[str] = (),
    known: Sequence[str] = (),
    observed: Sequence[str] = (),
    categorical: Collection[str] = (),
    frequency: str | None = None,
    time_zone: str | None = None,
) -> Schema:
    """Make the schema that a user declares for a table; columns not named are not used.

    Text and boolean columns are categorical whether said or not. The frequency is inferred where none is given. Times
    are read in `time_zone` where it is given, else in the zone of their column. `id` may be None for a table of one
    series.

    Raises
    ------
    SchemaError
        When a column is not in the table or has two roles, a categorical one has none, a target is categorical,
        the frequency is not understood or cannot be told, there is no such time zone, a column that is not called
        categorical mixes numbers with text, or a table without id has several series.
    DataError
        When the times cannot be read.
    """
    roles = {Role.TARGET: targets, Role.STATIC: static, Role.KNOWN: known, Role.OBSERVED: observed}
    keys = [time] if id is None else [id, time]
    declared = [name for names in roles.values() for name in names]
    for name in (*keys, *declared, *categorical):
        if name not in frame.columns:
            raise SchemaError.unknown_column(name, frame.columns)
    for name in categorical:
        if name not in declared:
            raise SchemaError.not_declared(name, declared)
        if name in targets:
            raise SchemaError.categorical_target(name)
    columns = tuple(
        Column(name=name, role=role, kind=kind_of(frame[name].dtype, role, said=name in categorical))
        for role, names in roles.items()
        for name in names
    )
    schema = Schema(columns=columns, frequency=frequency or "1i", id=id, time=time)  # roles are checked first

    for role in (Role.STATIC, Role.KNOWN, Role.OBSERVED):
        for name in schema.names(role, Kind.CATEGORICAL):
            if name not in categorical and (odd := odd_among_numbers(frame[name])) is not None:
                raise SchemaError.numbers_and_text(name, *odd)
    if time_zone is not None and time_zone not in available_timezones():
        raise SchemaError.unknown_zone(time_zone, available_timezones())

    problems = Problems()
    counted = None if frequency is None else Frequency.parse(frequency).is_integer
    times = read_times(frame[time], time_zone, problems, counted=counted)
    problems.raise_if_any()
    assert times is not None
    if id is None and times.drop_nulls().is_duplicated().any():
        texts = [name for name in frame.columns if name != time and frame[name].dtype == pl.String]
        raise SchemaError.several_series(time, texts)
    if frequency is None:
        present = times.is_not_null()
        ids = frame[id].filter(present) if id is not None else None
        frequency = frequency_of(times.filter(present), series_codes(ids, int(present.sum())), time)
    zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
    return Schema(columns=schema.columns, frequency=canonical(frequency), id=id, time=time, time_zone=zone)


def kind_of(dtype: pl.DataType, role: Role, *, said: bool) -> Kind:
    """Kind of a column: categorical where the user says so or its type leaves no choice."""
    textual = dtype in (pl.String, pl.Boolean) or isinstance(dtype, (pl.Categorical, pl.Enum))
    return Kind.CATEGORICAL if said or (textual and role is not Role.TARGET) else Kind.REAL
