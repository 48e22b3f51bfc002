"""The baselines of an evaluation or a backtest, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from fusecast.data.arrays import IntArray
from fusecast.data.frequency import seasons_for
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.evaluation.baselines.boosting import Boosting
from fusecast.evaluation.baselines.simple import Drift, PointFormula, SeasonalMean, SeasonalNaive
from fusecast.evaluation.baselines.statistical import Statistical
from fusecast.inference.forecasts import Predictor

BaselineName = Literal["last", "seasonal", "drift", "mean", "ets", "theta", "lightgbm"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)
DEFAULT_BASELINES: tuple[BaselineName, ...] = ("last", "seasonal", "drift", "mean")
"""The baselines of a backtest: those that need no other library."""
NAIVE_BASELINES: tuple[BaselineName, ...] = ("last", "seasonal")  # the baselines of an evaluation


def build_baselines(
    names: Sequence[str], panel: Panel, train_end: IntArray, horizon: int, levels: Sequence[float]
) -> list[Predictor]:
    """Fit baselines on the first `train_end` [S] rows of each series, each to forecast quantiles of these levels.

    Names are any of `BASELINES`: ``last`` value, ``seasonal`` naive (one for each usual season of the frequency),
    ``drift``, seasonal ``mean`` (likewise); with extra libraries ``ets`` and ``theta`` (AutoETS and AutoTheta of
    statsforecast) and ``lightgbm``. Raise a ConfigError when there is no baseline of a name, or the library that it
    needs is not installed.
    """
    levels = tuple(levels)
    formulas = point_formulas(panel.schema.frequency, levels)
    baselines: list[Predictor] = []
    for name in dict.fromkeys(names):
        match name:
            case "ets" | "theta":
                season = (_seasons(panel.schema.frequency) or [1])[0]
                baselines.append(Statistical.fit(name, panel, train_end, season, levels))
            case "lightgbm":
                baselines.append(Boosting.fit(panel, train_end, horizon, levels))
            case _ if name in formulas:
                baselines += [formula.fit(panel, train_end, horizon) for formula in formulas[name]]
            case _:
                raise ConfigError.not_one_of("baseline", name, BASELINES)
    return baselines


def point_formulas(frequency: str, levels: tuple[float, ...]) -> dict[str, list[PointFormula]]:
    """Return the baselines by formula, by the names that ask for them."""
    seasons = _seasons(frequency)
    return {
        "last": [SeasonalNaive(season=1, levels=levels)],
        "seasonal": [SeasonalNaive(season=season, levels=levels) for season in seasons],
        "drift": [Drift(levels=levels)],
        "mean": [SeasonalMean(season=season, levels=levels) for season in seasons or [1]],
    }


def _seasons(frequency: str) -> list[int]:
    return [season for season in seasons_for(frequency) if season > 1]
