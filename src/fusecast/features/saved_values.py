"""Read the parts of a saved preprocessor, whose types and values are checked; each raises a ValueError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import numpy as np

from fusecast.data.arrays import FloatArray
from fusecast.data.frequency import Frequency
from fusecast.data.ids.columns import id_names
from fusecast.data.schema import Schema
from fusecast.features.targets import FittedTargets
from fusecast.io.documents import take

if TYPE_CHECKING:
    from fusecast.config import FeatureConfig


def read_schema(values: dict[str, Any]) -> Schema:
    """Return a schema from the values of its ``to_dict``, whose types are checked."""
    for name in ("time", "frequency"):
        take(values, name, str)
    take(values, "time_zone", str, optional=True)
    take({"weight": None, **values}, "weight", str, optional=True)
    if isinstance(values.get("id"), list):
        take(values, "id", list, items=str)
    else:
        take(values, "id", str, optional=True)
    if "id_types" in values and len(take(values, "id_types", list, items=str)) != len(id_names(values["id"])):
        raise ValueError("types are not as many as id columns")
    for column in take(values, "columns", list, items=dict):
        take(column, "name", str)
    schema = Schema.from_dict(values)
    Frequency.parse(schema.frequency)
    if schema.time_zone is not None and schema.time_zone not in available_timezones():
        raise ValueError(f"there is no time zone {schema.time_zone!r}")
    if "month_day" in values and not 1 <= take(values, "month_day", int) <= 31:
        raise ValueError(f"there is no day {schema.month_day} of a month")
    return schema


def read_names(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of different texts."""
    names = take(values, name, list, items=str)
    if len(set(names)) < len(names):
        raise ValueError(f"{name!r} holds a name twice")
    return tuple(names)


def read_targets(values: Mapping[str, Any], config: FeatureConfig, count: int) -> FittedTargets:
    """Return the facts of `count` targets, those of earlier versions where they were not written."""
    if "targets" not in values:
        return FittedTargets.without_facts(config, count)
    targets = FittedTargets.from_dict(take(values, "targets", dict, items=list), config)
    if len(targets.lowest) != count:
        raise ValueError("bounds are not as many as targets")
    return targets


def read_statics(values: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return the statics of the series, none where they were not written."""
    statics = take(values, "statics", dict, items=list) if "statics" in values else {}
    return {
        name: np.array([np.nan if each is None else float(each) for each in column]) for name, column in statics.items()
    }


def read_usual(values: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the usual mean and deviation of the targets, none where they were not written."""
    usual = take(values, "usual", dict, items=list) if "usual" in values else {}
    pairs = {name: (float(mean), float(deviation)) for name, (mean, deviation) in usual.items()}
    if not all(np.isfinite(pair).all() and pair[1] > 0 for pair in pairs.values()):
        raise ValueError("usual deviations must be positive")
    return pairs
