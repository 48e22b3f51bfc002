"""Forecasts: what comes back for the windows of an index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from fusecast.data.panel import Panel
from fusecast.data.schema import Schema
from fusecast.errors import ConfigError, SchemaError

OWN_NAMES = (
    *("cutoff", "step", "y_hat", "predictor", "actual", "sample"),  # of forecasts, backtests and scenarios
    *("target", "quantile", "before", "after", "difference"),  # of what-if
)


def check_keys(schema: Schema) -> None:
    """Refuse an id or time column that has the name of another column of a table of results: before any training.

    Raises
    ------
    SchemaError
        Which names the column.
    """
    for name in (schema.id, schema.time):
        if name is not None and (name in OWN_NAMES or re.fullmatch(r"q0\.\d+", name)):
            raise SchemaError.reserved_key(name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecasts:
    """Quantile forecasts of W windows, in the units of the data."""

    series: NDArray[np.int64]  # [W] number of the series in the panel
    cutoff: NDArray[np.int64]  # [W] row of the series that is forecast first
    quantiles: NDArray[np.float64]  # [W, H, Y, Q]
    levels: tuple[float, ...]  # Q quantile levels

    def __len__(self) -> int:
        return len(self.series)

    @property
    def horizon(self) -> int:
        """Steps forecast, H."""
        return int(self.quantiles.shape[1])

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Put forecasts of the same levels and horizon one after the other."""
        first, *others = parts
        for other in others:
            if other.levels != first.levels or other.quantiles.shape[1:] != first.quantiles.shape[1:]:
                raise ConfigError.forecasts_do_not_fit(first.levels, first.horizon, other.levels, other.horizon)
        return cls(
            series=np.concatenate([part.series for part in parts]),
            cutoff=np.concatenate([part.cutoff for part in parts]),
            quantiles=np.concatenate([part.quantiles for part in parts]),
            levels=first.levels,
        )

    def take(self, windows: ArrayLike) -> Self:
        """Keep some windows, by number or mask."""
        chosen = np.asarray(windows)
        return replace(self, series=self.series[chosen], cutoff=self.cutoff[chosen], quantiles=self.quantiles[chosen])

    def sorted(self) -> Self:
        """Put each step's quantiles in rising order (Chernozhukov, Fernandez-Val, Galichon 2010).

        Quantiles that cross are only exchanged; the pinball loss summed over levels never grows.
        """
        return replace(self, quantiles=np.sort(self.quantiles, axis=-1))

    def quantile(self, level: float) -> NDArray[np.float64]:
        """Values [W, H, Y] at a level; linear between the neighbouring levels, never beyond the outermost.

        Raises
        ------
        ConfigError
            When the level lies outside those forecast.
        """
        levels = self.levels
        if not levels[0] <= level <= levels[-1]:
            raise ConfigError.out_of_range("a quantile level", level, f"[{levels[0]}, {levels[-1]}]")
        if level in levels:
            return self.quantiles[..., levels.index(level)]
        above = int(np.searchsorted(levels, level))
        share = (level - levels[above - 1]) / (levels[above] - levels[above - 1])
        low, high = self.quantiles[..., above - 1], self.quantiles[..., above]
        value: NDArray[np.float64] = low + share * (high - low)
        return value

    def median(self) -> NDArray[np.float64]:
        """Point forecast [W, H, Y]: the median, or the level nearest to it where all levels lie on one side."""
        return self.quantile(min(max(0.5, self.levels[0]), self.levels[-1]))

    def to_frame(self, panel: Panel) -> pl.DataFrame:
        """Table of one row a window and step, in the order of the windows.

        Columns: the id (where the table has one) and the time of the step under the table's own names and types;
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
            "cutoff": panel.times_of(series, np.repeat(self.cutoff - 1, H)),
            "step": pl.Series(np.tile(steps + 1, len(self))).cast(pl.Int32),
        }
        median = self.median()
        named = [f"{level:g}" for level in self.levels]
        if len(set(named)) < len(named):  # six digits do not tell them apart
            named = [repr(float(level)) for level in self.levels]
        for number, target in enumerate(schema.targets):
            prefix = f"{target}:" if len(schema.targets) > 1 else ""
            columns[f"{prefix}y_hat"] = pl.Series(median[:, :, number].ravel())
            for place, level in enumerate(named):
                columns[f"{prefix}q{level}"] = pl.Series(self.quantiles[:, :, number, place].ravel())

        keys: dict[str, pl.Series] = {}
        if schema.id is not None:
            keys[schema.id] = pl.Series(panel.ids.tolist()).gather(series)
        keys[schema.time] = panel.times_of(series, (self.cutoff[:, None] + steps).ravel())
        for name in keys:
            if name in columns:
                raise SchemaError.reserved_name(name, "a column of every forecast table")
        return pl.DataFrame({name: column.alias(name) for name, column in {**keys, **columns}.items()})
