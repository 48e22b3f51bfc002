"""Forecasts: the quantiles forecast for the windows of an index, and their table; Predictor: what makes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import polars as pl

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.data.schema import Schema
from fusecast.errors import ConfigError, DataError, SchemaError
from fusecast.inference.quantiles import compute_median, interpolate_quantiles
from fusecast.model.config import validate_quantile_levels
from fusecast.windows.window_index import WindowIndex

RESERVED_COLUMNS = (
    *("cutoff", "step", "y_hat", "predictor", "actual", "sample"),  # of forecasts, backtests and scenarios
    *("target", "quantile", "before", "after", "difference"),  # of what-if
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecasts:
    """Quantile forecasts of W windows, in the units of the data."""

    series: IntArray  # [W] position of the series in the panel
    cutoff: IntArray  # [W] number of known rows of the series
    quantiles: FloatArray  # [W, H, Y, Q]
    levels: tuple[float, ...]  # Q quantile levels
    lowest: FloatArray | None = None  # [Y] what no forecast of a target lies below; -inf, or None, for no bound

    def __repr__(self) -> str:
        return f"Forecasts({len(self)} windows, horizon={self.horizon}, levels={self.levels})"

    def __len__(self) -> int:
        return len(self.series)

    @property
    def horizon(self) -> int:
        """Number of steps forecast, H."""
        return int(self.quantiles.shape[1])

    def sorted(self) -> Self:
        """Return the forecasts with each step's quantiles in rising order (Chernozhukov et al. 2010).

        Quantiles that cross are only exchanged; the pinball loss summed over levels never grows.
        """
        return replace(self, quantiles=np.sort(self.quantiles, axis=-1))

    def require_finite(self, names: Sequence[object]) -> Self:
        """Return the forecasts; raise a DataError with the `names` of series where some are not finite numbers."""
        spoiled = ~np.isfinite(self.quantiles).all(axis=(1, 2, 3))
        if spoiled.any():
            raise DataError.forecasts_not_finite([names[s] for s in np.unique(self.series[spoiled]).tolist()])
        return self

    def bounded(self) -> Self:
        """Return the forecasts with what lies below the bound of its target at the bound."""
        if self.lowest is None:
            return self
        return replace(self, quantiles=np.maximum(self.quantiles, self.lowest[:, None]))

    def at_levels(self, levels: Sequence[float]) -> Self:
        """Return the forecasts at other levels; quantiles of levels that were forecast do not change.

        The lower tail ends at the bound. Raise a ConfigError when the levels do not rise or lie outside (0, 1), or the
        forecasts have a single level, and others are asked for.
        """
        levels = validate_quantile_levels(levels)
        if len(self.levels) == 1 and levels != self.levels:
            raise ConfigError.single_level(self.levels[0])
        quantiles = interpolate_quantiles(self.sorted().quantiles, self.levels, np.asarray(levels))
        return replace(self, quantiles=quantiles, levels=levels).bounded()

    def median(self) -> FloatArray:
        """Return the point forecast [W, H, Y]: the median, or the nearest level where all lie on one side of it."""
        return compute_median(self.quantiles, self.levels)

    def to_frame(self, panel: Panel) -> pl.DataFrame:
        """Return a table of one row a window and step, in the order of the windows.

        Columns: the ids (where the table has them) and the time of the step under the table's own names and types;
        `cutoff`, the time of the last known row; `step`, counted from 1; `y_hat`, the median; one column a level,
        `q0.1`. With several targets the last two kinds are there for each: `<target>:y_hat`, `<target>:q0.1`.

        Raises
        ------
        SchemaError
            When the id or the time column has the name of another of these columns.
        """
        schema, H = panel.schema, self.horizon
        series, steps = np.repeat(self.series, H), np.arange(H, dtype=np.int64)
        columns: dict[str, pl.Series] = {
            "cutoff": panel.times_at(series, np.repeat(self.cutoff - 1, H)),
            "step": pl.Series(np.tile(steps + 1, len(self))).cast(pl.Int32),
        }
        median, names = self.median(), _format_levels(self.levels)
        for y, target in enumerate(schema.targets):
            prefix = f"{target}:" if len(schema.targets) > 1 else ""
            columns[f"{prefix}y_hat"] = pl.Series(median[:, :, y].ravel())
            for q, name in enumerate(names):
                columns[f"{prefix}q{name}"] = pl.Series(self.quantiles[:, :, y, q].ravel())

        keys = panel.ids_of(series)
        keys[schema.time] = panel.times_at(series, (self.cutoff[:, None] + steps).ravel())
        for name in keys:
            if name in columns:
                raise SchemaError.reserved_name(name, "a column of every forecast table")
        return pl.DataFrame({name: column.alias(name) for name, column in {**keys, **columns}.items()})


class Predictor(Protocol):
    """The interface of models in evaluation: a name, and forecasts."""

    @property
    def name(self) -> str:
        """Name in tables, such as ``TFT`` or ``seasonal naive 24``."""

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, in its order, from the rows before each cutoff."""


def check_key_columns(schema: Schema) -> None:
    """Raise a SchemaError where the id or time column has the name of another column of a table of results."""
    for name in (*schema.id_names, schema.time):
        if name in RESERVED_COLUMNS or re.fullmatch(r"q0\.\d+", name):
            raise SchemaError.reserved_name(name, "a column of every forecast table")


def _format_levels(levels: Sequence[float]) -> list[str]:
    """Return the levels as text, with six digits unless some would be equal."""
    names = [f"{level:g}" for level in levels]
    return names if len(set(names)) == len(names) else [repr(float(level)) for level in levels]
