"""Scores apart: by step ahead and by series, from the forecasts that were judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import actuals, targets
from fusecast.evaluation.baselines import baselines_for
from fusecast.evaluation.chance import standard_error
from fusecast.evaluation.evaluate import Evaluation, evaluate
from fusecast.evaluation.metrics import ScoreSums
from fusecast.evaluation.predictor import Predictor
from fusecast.evaluation.scaling import seasonal_error
from fusecast.evaluation.scores import central_intervals
from fusecast.evaluation.seasons import seasons_for
from fusecast.inquire import spread
from fusecast.prepare import Prepared
from fusecast.report.content import Apart, SeriesScores
from fusecast.training.predictor import NetworkPredictor
from fusecast.windows.forecasts import Forecasts

MOST_SERIES = 10
MOST_WINDOWS = 2_000


@dataclass(eq=False)
class Kept:
    """What a report needs of forecasts once they are judged."""

    apart: Apart
    worst: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Numbers of the series of lowest skill, the lowest first."""


def apart(prepared: Prepared, predictor: NetworkPredictor, evaluation: Evaluation) -> Kept:
    """Score model and best baseline once more by step ahead and by series, on the windows of the evaluation."""
    panel, config, train_end = prepared.panel, prepared.config, prepared.parts.train_end
    index = prepared.windows("test", config.horizon)
    made = {predictor.name: predictor.predict(prepared.encoded, index)}
    for baseline in baselines_for(panel, train_end, config.horizon, config.network.quantiles):
        if baseline.name == evaluation.best_baseline():
            made[baseline.name] = baseline.predict(panel, index)
    scale = seasonal_error(panel, train_end, seasons_for(panel.schema.frequency)[0])
    by_step, by_series = {}, {}
    for name, forecasts in made.items():
        by_step[name], by_series[name] = _tallies(panel, forecasts, scale)
    steps = {name: _wql(sums) for name, sums in by_step.items()}
    own, *rival = by_series.values()
    judged = np.unique(made[predictor.name].series)
    skill = np.full(panel.num_series, np.nan)
    if rival:
        with np.errstate(divide="ignore", invalid="ignore"):
            skill = 1 - _pinball(own) / _pinball(rival[0])
    # An exact baseline (a series that never moves) is better by whatever factor: such series come after those with one.
    place = np.where(np.isneginf(skill), -1e-12, np.nan_to_num(skill, nan=np.inf))
    order = judged[np.argsort(place[judged], kind="stable")]
    order = order[~np.isnan(skill[order])]
    worst = [_scores_of(panel, own, int(s), float(skill[s])) for s in order[:MOST_SERIES]]
    return Kept(
        Apart(
            by_step=steps,
            worst=worst,
            worse_than_baseline=int((skill[judged] < 0).sum()),
            judged=len(judged),
        ),
        order[:MOST_SERIES],
    )


def held(
    prepared: Prepared, predictor: NetworkPredictor, beside: Sequence[Predictor] = ()
) -> tuple[Evaluation, list[dict[float, float]]]:
    """Judge models at origins all over the test span, whose horizons overlap, and say what chance may do to the shares.

    Returns
    -------
    The evaluation without baselines; and of each target, interval -> standard error of the model's coverage.
    """
    panel, index = prepared.panel, spread(prepared.windows("test"), MOST_WINDOWS)
    season = seasons_for(panel.schema.frequency)[0]
    evaluation = evaluate([predictor, *beside], panel, index, train_end=prepared.parts.train_end, season=season)
    return evaluation, _chance(panel, predictor.predict(prepared.encoded, index))


def _tallies(panel: Panel, forecasts: Forecasts, scale: NDArray[np.float64]) -> tuple[ScoreSums, ScoreSums]:
    actual = actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon, targets(panel))
    size = len(panel.schema.targets)
    by_step = ScoreSums(forecasts.levels, size, forecasts.horizon)
    by_series = ScoreSums(forecasts.levels, size, panel.num_series)
    steps = np.broadcast_to(np.arange(forecasts.horizon), actual.shape[:2])
    by_step.add(forecasts.quantiles, actual, scale[forecasts.series], steps)
    by_series.add(forecasts.quantiles, actual, scale[forecasts.series], forecasts.series)
    return by_step, by_series


def _chance(panel: Panel, forecasts: Forecasts) -> list[dict[float, float]]:
    """Give, of each target, the standard error of the coverage of each interval."""
    truth = actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon)
    row = forecasts.cutoff[:, None] + np.arange(forecasts.horizon)
    time = panel.times_of(np.repeat(forecasts.series, forecasts.horizon), row.ravel()).to_physical().to_numpy()
    found: list[dict[float, float]] = [{} for _ in panel.schema.targets]
    for share, (low, high) in central_intervals(forecasts.levels).items():
        within = (truth >= forecasts.quantiles[..., low]) & (truth <= forecasts.quantiles[..., high])
        inside = np.where(np.isnan(truth), np.nan, within)
        for place, own in enumerate(found):
            own[share] = standard_error(inside[..., place].ravel(), time, forecasts.horizon)
    return found


def _wql(sums: ScoreSums) -> NDArray[np.float64]:
    return np.asarray(sums.columns()["wql"][:, 0], dtype=np.float64)


def _pinball(sums: ScoreSums) -> NDArray[np.float64]:
    return np.asarray(sums.columns()["mean_pinball"][:, 0], dtype=np.float64)


def _scores_of(panel: Panel, sums: ScoreSums, series: int, skill: float) -> SeriesScores:
    own = sums.scores_of(series)[0]
    coverage = next(iter(own.coverage.values()), float("nan"))
    return SeriesScores(
        series=str(panel.ids[series].item()), wql=own.wql, mase=own.mase, coverage=coverage, skill=skill
    )
