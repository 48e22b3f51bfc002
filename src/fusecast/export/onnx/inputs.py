"""Inputs of an exported graph: raw values by window, as a table has them, and how they are gathered from a panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fusecast.data.schema import Kind, Role
from fusecast.features.calendar import to_local_times
from fusecast.features.vocabulary import encode_categories

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fusecast.data.arrays import FloatArray, IntArray
    from fusecast.data.panel import Panel
    from fusecast.features.preprocessor import FittedPreprocessor
    from fusecast.windows.window_index import WindowIndex

    Array = NDArray[np.generic]

SECONDS = 1_000_000  # microseconds


@dataclass(frozen=True, kw_only=True)
class GraphInputs:
    """The columns of each input, in order; an input without columns is not there.

    Reals are float64 in the units of the table, NaN where missing; categories are int32, 0 where missing or unknown,
    else the position in the vocabulary from 1 on. `past` inputs are ``[B, L, V]``, `future` ones ``[B, H, V]``.
    """

    past_real: tuple[str, ...]  # targets, observed, known
    past_category: tuple[str, ...]  # observed, known
    future_real: tuple[str, ...]
    future_category: tuple[str, ...]
    static_real: tuple[str, ...]
    static_category: tuple[str, ...]
    has_series: bool  # whether `series` [B] is read: the position among the series of the training from 1 on, or 0
    has_time: bool  # whether `time` [B, L + H] is read: seconds of local time since 1970, NaN before the first row
    targets: tuple[str, ...]
    has_history: bool  # whether `history` [B, N, Y] is read: targets of any number of rows before the forecast

    @classmethod
    def of(cls, fitted: FittedPreprocessor, *, has_history: bool = False) -> GraphInputs:
        """Return the inputs of a forecast with a fitted preprocessor; of one with baselines if it `has_history`."""
        names = fitted.schema.names
        known = names(Role.KNOWN, Kind.REAL), names(Role.KNOWN, Kind.CATEGORICAL)
        return cls(
            past_real=(*fitted.schema.targets, *names(Role.OBSERVED, Kind.REAL), *known[0]),
            past_category=(*names(Role.OBSERVED, Kind.CATEGORICAL), *known[1]),
            future_real=known[0],
            future_category=known[1],
            static_real=names(Role.STATIC, Kind.REAL),
            static_category=names(Role.STATIC, Kind.CATEGORICAL),
            has_series=len(fitted.series) > 1,
            has_time=bool(fitted.calendar or fitted.holidays),
            targets=fitted.schema.targets,
            has_history=has_history,
        )

    def describe(self, lookback: int, horizon: int) -> list[dict[str, Any]]:
        """Return name, type, shape and columns of each input that is there, in their order."""
        rows: dict[str, list[str | int]] = {
            "past": ["batch", lookback],
            "future": ["batch", horizon],
            "static": ["batch"],
        }
        described: list[dict[str, Any]] = []
        if self.has_series:
            described.append({"name": "series", "type": "int32", "shape": ["batch"]})
        if self.has_time:
            described.append({"name": "time", "type": "float64", "shape": ["batch", lookback + horizon]})
        for group, sizes in rows.items():
            for kind, dtype in (("real", "float64"), ("category", "int32")):
                columns = list(getattr(self, f"{group}_{kind}"))
                if columns:
                    shape_of = [*sizes, len(columns)]
                    described.append({"name": f"{group}_{kind}", "type": dtype, "shape": shape_of, "columns": columns})
        if self.has_history:
            columns, shape = list(self.targets), ["batch", "rows", len(self.targets)]
            described.append({"name": "history", "type": "float64", "shape": shape, "columns": columns})
        return described

    def gather(self, fitted: FittedPreprocessor, panel: Panel, index: WindowIndex) -> dict[str, Array]:
        """Return the inputs of every window of an index of a panel that reaches to the end of its windows."""
        series, cutoff = index.locate(np.arange(len(index)))
        L, T = index.lookback, index.lookback + index.horizon
        row = cutoff[:, None] + np.arange(-L, index.horizon)
        outside = (row < 0) | (row >= panel.lengths[series][:, None])
        rows = np.where(outside, 0, panel.indptr[series][:, None] + row)

        def stack(columns: Mapping[str, Any], names: tuple[str, ...], part: slice) -> Array:
            return np.stack([columns[name][:, part] for name in names], axis=-1)

        def codes(name: str) -> Array:
            values = panel.static_categories if name in panel.static_categories else panel.categories
            return encode_categories(values[name], panel.levels[name], fitted.vocabularies[name])

        reals = {name: np.where(outside, np.nan, panel.reals[name][rows]) for name in self.past_real}
        categories = {name: np.where(outside, 0, codes(name)[rows]) for name in self.past_category}
        past, future = slice(0, L), slice(L, T)
        gathered: dict[str, Array] = {}
        if self.has_series:
            gathered["series"] = (fitted.locate_series(panel)[series] + 1).astype(np.int32)
        if self.has_time:
            times = panel.times_at(np.repeat(series, T), np.where(outside, 0, row).ravel())
            local = to_local_times(times, fitted.schema.time_zone)
            local = local.dt.replace_time_zone(None) if isinstance(local.dtype, pl.Datetime) else local
            seconds = local.cast(pl.Datetime("us")).to_physical().to_numpy().reshape(-1, T) / SECONDS
            gathered["time"] = np.where(outside, np.nan, seconds)
        for group, part in (("past", past), ("future", future)):
            for kind, columns in (("real", reals), ("category", categories)):
                if names := getattr(self, f"{group}_{kind}"):
                    gathered[f"{group}_{kind}"] = stack(columns, names, part)
        if self.static_real:
            gathered["static_real"] = np.stack([panel.static_reals[name][series] for name in self.static_real], axis=-1)
        if self.static_category:
            gathered["static_category"] = np.stack([codes(name)[series] for name in self.static_category], axis=-1)
        if self.has_history:
            gathered["history"] = gather_history(panel, series, cutoff)
        order = [each["name"] for each in self.describe(L, index.horizon)]
        kinds = {"category": np.int32, "series": np.int32}
        return {
            name: np.ascontiguousarray(gathered[name].astype(kinds.get(name.rpartition("_")[2], np.float64)))
            for name in order
        }


def gather_history(panel: Panel, series: IntArray, cutoff: IntArray) -> FloatArray:
    """Return the targets of all rows before each cutoff, [B, N, Y]: N of the longest, NaN before the first row."""
    row = cutoff[:, None] + np.arange(-cutoff.max(initial=0), 0)
    rows = panel.indptr[series][:, None] + row.clip(min=0)
    values = np.stack([panel.reals[name][rows] for name in panel.schema.targets], axis=-1)
    return np.where(row[..., None] < 0, np.nan, values)


def embeds_series(fitted: FittedPreprocessor) -> bool:
    """Whether the network reads which series it forecasts."""
    return any(name.startswith("series:") for name in fitted.inputs.static_categories)
