"""Rivals: the baselines of a backtest, by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusecast.data.frequency import seasons_for
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.evaluation.baselines.boosting import Boosting
from fusecast.evaluation.baselines.seasonal_naive import SeasonalNaive
from fusecast.evaluation.baselines.simple import Drift, SeasonalMean
from fusecast.evaluation.baselines.statistical import Statistical
from fusecast.inference.predictor import Predictor

DEFAULT_BASELINES = ("last", "seasonal", "drift", "mean")
BASELINES = (*DEFAULT_BASELINES, "ets", "theta", "lightgbm")


def build_baselines(
    names: Sequence[str],
    panel: Panel,
    train_end: NDArray[np.int64],
    horizon: int,
    levels: Sequence[float],
) -> list[Predictor]:
    """Fit the baselines named, on the first `train_end` [S] rows of each series.

    ``last`` value, ``seasonal`` naive (one for each usual season of the frequency), ``drift``, seasonal window ``mean``
    (likewise); with extra libraries ``ets`` and ``theta`` (AutoETS and AutoTheta of statsforecast) and ``lightgbm``.

    Raises
    ------
    ConfigError
        When there is no baseline of a name, or the library that it needs is not installed.
    """
    found: list[Predictor] = []
    fixed = tuple(levels)
    seasons = [season for season in seasons_for(panel.schema.frequency) if season > 1]
    for name in dict.fromkeys(names):
        match name:
            case "last":
                found.append(SeasonalNaive(season=1, levels=fixed).fit(panel, train_end, horizon))
            case "seasonal":
                found += [SeasonalNaive(season=s, levels=fixed).fit(panel, train_end, horizon) for s in seasons]
            case "drift":
                found.append(Drift(levels=fixed).fit(panel, train_end, horizon))
            case "mean":
                found += [SeasonalMean(season=s, levels=fixed).fit(panel, train_end, horizon) for s in seasons or [1]]
            case "ets" | "theta":
                found.append(Statistical(kind=name, season=(seasons or [1])[0], levels=fixed).fit(panel, train_end))
            case "lightgbm":
                found.append(Boosting(levels=fixed).fit(panel, train_end, horizon))
            case _:
                raise ConfigError.not_one_of("baseline", name, BASELINES)
    return found
