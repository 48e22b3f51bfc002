"""The plots of results: what `plot` of an evaluation, a backtest and an explanation returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np
import plotly.graph_objects as go
import polars as pl

from fusecast.display.plottable import Engine
from fusecast.errors import ConfigError
from fusecast.evaluation.backtest.forecast_table import ACTUAL, PREDICTOR, key_columns, target_prefixes
from fusecast.evaluation.backtest.results import Backtest
from fusecast.evaluation.evaluate import Evaluation, headline_scores
from fusecast.explain.single_forecast import ForecastExplanation
from fusecast.reporting import figures_accuracy, figures_explanation
from fusecast.reporting.explanation_report import ExplanationReport
from fusecast.reporting.figure_style import escape_name, stack_figures, tile_figures
from fusecast.reporting.report_data import FanForecast, ForecastPlot
from fusecast.reporting.text import model_names, raw_name_in

BACKTEST_WINDOWS = 6
"""Windows of a backtest that are drawn, the newest of those that do not overlap."""
MAX_PREDICTORS, MAX_GROUPS = 5, 40
"""Predictors in a plot, the models before the best baselines, and groups, those that the model is worst on."""


def plot(result: object, kind: str | None, engine: Engine = "plotly") -> Any:
    """Return a figure of a result, by the name of its kind; None for the first. See :class:`~.display.Plottable`."""
    require_engine(engine)
    kinds: Mapping[str, Callable[[], go.Figure]]
    match result:
        case Evaluation():
            kinds = _evaluation_kinds(result)
        case Backtest():
            kinds = _backtest_kinds(result)
        case ForecastExplanation():
            kinds = _forecast_kinds(result)
        case ExplanationReport():
            figures = result.figures()
            kinds = {name: partial(figures.__getitem__, name) for name in figures}
        case _:
            raise TypeError(type(result))
    chosen = kind if kind is not None else next(iter(kinds), None)
    if chosen not in kinds:
        raise ConfigError.not_one_of("kind", chosen, kinds)
    return convert(kinds[chosen](), engine)


def require_engine(engine: str) -> None:
    """Raise a ConfigError where there is no such engine, or it is not installed."""
    if engine not in get_args(Engine):
        raise ConfigError.not_one_of("engine", engine, get_args(Engine))
    if engine == "matplotlib" and find_spec("matplotlib") is None:
        raise ConfigError.missing_library("engine='matplotlib'", "matplotlib")


def convert(figure: go.Figure, engine: Engine) -> Any:
    """Return a figure of plotly as one of the engine."""
    if engine == "plotly":
        return figure
    from fusecast.reporting.matplotlib_figure import to_matplotlib

    return to_matplotlib(figure)


def _evaluation_kinds(evaluation: Evaluation) -> dict[str, Callable[[], go.Figure]]:
    kinds = {"metrics": lambda: _by_target(evaluation, _metrics)}
    if model_names(evaluation) and next(iter(evaluation.scores.values()))[0].calibration:
        kinds["calibration"] = lambda: _by_target(evaluation, _calibration)
        kinds["pit"] = lambda: _by_target(evaluation, _pit)
    return kinds


def _by_target(evaluation: Evaluation, draw: Callable[[Evaluation, int], tuple[str, go.Figure]]) -> go.Figure:
    figures = {}
    for y, target in enumerate(evaluation.targets):
        title, figure = draw(evaluation, y)
        figures[f"{escape_name(target)}: {title}"] = figure
    return stack_figures(figures)


def _metrics(evaluation: Evaluation, y: int) -> tuple[str, go.Figure]:
    scores = {name: headline_scores(evaluation.scores[name][y]) for name in _choose_predictors(evaluation)}
    model = next(iter(model_names(evaluation)), "")
    references = [headline_scores(evaluation.scores[name][y]) for name in evaluation.baselines]
    references = references or list(scores.values())[:1]
    best = {
        key: min((each[key] for each in references if math.isfinite(each[key])), default=math.nan)
        for key in next(iter(scores.values()))
    }
    title = f"scores of {evaluation.windows:,} forecasts, {evaluation.horizon:,} steps ahead"
    return title, figures_accuracy.scores_figure(scores, best, model)


def _choose_predictors(evaluation: Evaluation) -> list[str]:
    baselines = sorted(evaluation.baselines, key=lambda name: np.nan_to_num(evaluation.scores[name][0].wql, nan=np.inf))
    return [*model_names(evaluation), *baselines][:MAX_PREDICTORS]


def _calibration(evaluation: Evaluation, y: int) -> tuple[str, go.Figure]:
    model = model_names(evaluation)[0]
    names = (model, raw_name_in(evaluation, model), evaluation.best_baseline(y))
    scores = {name: evaluation.scores[name][y] for name in names if name is not None}
    return "calibration of the quantiles", figures_accuracy.calibration_figure(scores)


def _pit(evaluation: Evaluation, y: int) -> tuple[str, go.Figure]:
    model = model_names(evaluation)[0]
    title = f"where actuals fall among the quantiles of {escape_name(model)}"
    return title, figures_accuracy.pit_figure(evaluation.scores[model][y])


def _backtest_kinds(backtest: Backtest) -> dict[str, Callable[[], go.Figure]]:
    kinds = _evaluation_kinds(backtest.evaluation)
    kinds["forecasts"] = lambda: _backtest_forecasts(backtest)
    for by in backtest.groupings:
        if by != "all":
            kinds[by] = lambda by=by: _losses_by(backtest, by)  # type: ignore[misc]
    return kinds


def _losses_by(backtest: Backtest, by: str) -> go.Figure:
    metrics, figures = backtest.metrics(by), {}
    names = _choose_predictors(backtest.evaluation)
    for target in backtest.targets:
        rows = metrics.filter(pl.col("target") == target)
        groups = rows["group"].unique(maintain_order=True).to_list()
        losses = {}
        for name in names:
            values = dict(rows.filter(pl.col("predictor") == name).select("group", "wql").iter_rows())
            losses[name] = np.array([values.get(group, math.nan) for group in groups], dtype=float)
        shown: list[Any] = (
            list(map(int, groups)) if by in ("step", "origin", "hour") else list(map(escape_name, groups))
        )
        if by == "series" and len(groups) > MAX_GROUPS:
            worst = np.argsort(-np.nan_to_num(losses[names[0]]), kind="stable")[:MAX_GROUPS]
            shown, losses = [shown[i] for i in worst], {name: values[worst] for name, values in losses.items()}
        figure = figures_accuracy.by_group_figure(losses, shown, {"step": "steps ahead"}.get(by, by))
        figures[f"{escape_name(target)}: weighted quantile loss by {by}"] = figure
    return stack_figures(figures)


def _backtest_forecasts(backtest: Backtest) -> go.Figure:
    """Draw the newest windows of the first series that do not overlap, of the first predictor, over the actuals."""
    table = backtest.scan()
    *ids, time = key_columns(table.collect_schema().names())
    first = table.head(1).collect()
    chosen = [pl.col(name).eq_missing(first[name].item()) for name in (PREDICTOR, *ids)]
    frame = table.filter(*chosen).sort("cutoff", "step").collect()
    cutoffs = frame["cutoff"].unique().sort(descending=True)
    cutoffs = cutoffs.gather_every(math.ceil(backtest.horizon / backtest.stride)).head(BACKTEST_WINDOWS)
    shown = frame.filter(pl.col("cutoff").is_in(cutoffs.implode()))
    series = f"{', '.join(map(str, first.select(ids).row(0)))}: " if ids else ""
    figures = {}
    for target, prefix in target_prefixes(backtest.targets).items():
        actual = shown.unique(time, keep="first").sort(time).select(time, pl.col(f"{prefix}{ACTUAL}").alias(ACTUAL))
        fans = shown.partition_by("cutoff", maintain_order=True)
        figures[escape_name(f"{series}{target} from {len(cutoffs)} origins")] = _fans(fans, actual, target, prefix)
    return tile_figures(figures)


def _fans(frames: Sequence[pl.DataFrame], actual: pl.DataFrame, target: str, prefix: str) -> go.Figure:
    """Draw tables of forecasts, each from one origin, with the actuals, a table of times and values."""
    time = actual.columns[0]
    levels = [name.removeprefix(f"{prefix}q") for name in frames[0].columns if name.startswith(f"{prefix}q0.")]
    forecasts = tuple(
        FanForecast(
            times=frame[time].to_list(),
            quantiles=frame.select(f"{prefix}q{level}" for level in levels).to_numpy(),
            levels=tuple(map(float, levels)),
        )
        for frame in frames
    )
    values = actual[ACTUAL].cast(pl.Float64).fill_null(math.nan).to_numpy()
    plot = ForecastPlot(series="", target=target, times=actual[time].to_list(), actual=values, forecasts=forecasts)
    figure = figures_accuracy.forecast_figure(plot, max(1, actual.height), mark=False)
    figure.update_xaxes(title_text=escape_name(time))
    return figure


def _forecast_kinds(explanation: ForecastExplanation) -> dict[str, Callable[[], go.Figure]]:
    return {
        "importances": lambda: _variables(explanation),
        "attention": lambda: _attended_steps(explanation),
        "forecast": lambda: _explained_forecast(explanation),
    }


def _variables(explanation: ForecastExplanation) -> go.Figure:
    figures = {}
    for group in ("past", "future", "static"):
        rows = explanation.variables.filter(pl.col("group") == group).head(figures_explanation.MAX_BARS)
        if rows.height:
            weights = dict(rows.reverse().select("variable", "weight").iter_rows())
            title = f"{escape_name(explanation.series)}: {group} variables, mean share of the selection"
            figures[title] = figures_explanation.share_figure(weights)
    return stack_figures(figures)


def _attended_steps(explanation: ForecastExplanation) -> go.Figure:
    steps = explanation.steps.sort("position")
    title = f"{escape_name(explanation.series)}: attention to each step, mean over the steps ahead"
    return stack_figures({title: figures_explanation.attended_steps_figure(steps)})


def _explained_forecast(explanation: ForecastExplanation) -> go.Figure:
    forecast, steps = explanation.forecast, explanation.steps.filter(pl.col("position") < 0).sort("position")
    time = key_columns(forecast.columns)[-1]
    columns = steps.columns[steps.columns.index("attention") + 1 :]
    targets = [column.removeprefix("target ") if column not in forecast.columns else column for column in columns]
    figures = {}
    for column, (target, prefix) in zip(columns, target_prefixes(targets).items(), strict=True):
        actual = steps.select(pl.col("time").alias(time), pl.col(column).alias(ACTUAL))
        figures[escape_name(f"{explanation.series}: {target}")] = _fans([forecast], actual, target, prefix)
    return tile_figures(figures)
