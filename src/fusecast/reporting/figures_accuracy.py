"""Figures of forecasts, training and accuracy, each described once as a plotly figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fusecast.data.arrays import FloatArray
from fusecast.evaluation.metrics import Scores
from fusecast.inference.quantiles import compute_median
from fusecast.reporting.figure_style import (
    ACCENT,
    BANDS,
    BAR,
    INK,
    LINE,
    MUTED,
    PALETTE,
    WARM,
    add_band,
    add_line,
    add_points,
    escape_name,
    new_figure,
    plain_times,
)
from fusecast.reporting.report_data import FanForecast, ForecastPlot, TrainingCurves

HORIZONS_OF_HISTORY = 4
MIN_HISTORY = 48
"""Actuals shown before the first forecast: so many horizons, and at least so many steps."""
MAX_NAMED_RATES = 6
MAX_MARKED_STEPS = 60


def forecast_figure(plot: ForecastPlot, last: int | None = None, *, mark: bool = True) -> go.Figure:
    """Draw the actuals of one series with its forecasts: the median and the central intervals around it.

    `last` is how many steps before the first forecast are drawn, None for some horizons; `mark` names each forecast.
    """
    figure = new_figure(420, hovermode="x unified", legend={"traceorder": "normal"})
    for i, forecast in enumerate(plot.forecasts):
        _add_bands(figure, forecast, first=i == 0)
    times, actual = _recent_actuals(plot, last)
    add_line(figure, times, actual, INK, 1.6, name="actual", hover="%{y:,.5~r}")
    for i, forecast in enumerate(plot.forecasts):
        times, median = plain_times(forecast.times), compute_median(forecast.quantiles, forecast.levels)
        legend = {"name": "forecast, median", "legendgroup": "median", "showlegend": i == 0}
        add_line(figure, times, median, ACCENT, 2.2, hover="%{y:,.5~r}", **legend)
        if mark:
            _mark_start(figure, forecast)
    figure.update_yaxes(title_text=escape_name(plot.target))
    return figure


def _recent_actuals(plot: ForecastPlot, last: int | None) -> tuple[list[Any], FloatArray]:
    """Return times and actuals from `last` steps before the first forecast on; more would squeeze the forecast."""
    times = plain_times(plot.times)
    starts = [(plain_times(one.times)[0], len(one.times)) for one in plot.forecasts if len(one.times)]
    first = min((times.index(start) for start, _ in starts if start in times), default=len(times))
    begin = max(0, first - (last or max([MIN_HISTORY, *(HORIZONS_OF_HISTORY * steps for _, steps in starts)])))
    return times[begin:], np.asarray(plot.actual, dtype=float)[begin:]


def _add_bands(figure: go.Figure, forecast: FanForecast, *, first: bool) -> None:
    times = plain_times(forecast.times)
    for i in range(len(forecast.levels) // 2):
        lower, upper = forecast.levels[i], forecast.levels[-1 - i]
        name = f"{upper - lower:.0%} interval" if abs(lower + upper - 1) < 1e-9 else f"{lower:g} to {upper:g} quantile"
        low, high = forecast.quantiles[:, i], forecast.quantiles[:, -1 - i]
        hover = "%{customdata[0]:,.5~r} to %{customdata[1]:,.5~r}"
        legend = {"name": name, "legendgroup": name, "showlegend": first}
        add_band(figure, times, low, high, BANDS[min(i, len(BANDS) - 1)], hovertemplate=hover, **legend)


def _mark_start(figure: go.Figure, forecast: FanForecast) -> None:
    times = plain_times(forecast.times)
    if not times:
        return
    figure.add_vline(x=times[0], line={"color": LINE, "width": 1, "dash": "dot"}, layer="below")
    figure.add_annotation(
        x=times[0],
        y=1,
        yref="paper",
        text=escape_name(forecast.name),
        showarrow=False,
        xanchor="left",
        yanchor="top",
        xshift=5,
        font={"size": 11, "color": MUTED},
    )


def loss_figure(curves: TrainingCurves) -> go.Figure:
    """Draw the loss in training and in validation by epoch, the best epoch marked; of other networks thin lines."""
    figure = new_figure(280, hovermode="x unified")
    epochs = list(curves.epoch)
    for other in curves.others:
        for loss, colour in ((other.train_loss, WARM), (other.valid_loss, ACCENT)):
            add_line(figure, list(other.epoch), list(loss), colour, 0.8, showlegend=False, opacity=0.5)
    add_line(figure, epochs, list(curves.train_loss), WARM, 1.8, name="training", hover="%{y:.4~g}")
    valid = np.asarray(curves.valid_loss, dtype=float)
    if len(valid) and not np.isnan(valid).all():
        best = int(np.nanargmin(valid))
        add_line(figure, epochs, valid, ACCENT, 2.2, name="validation", hover="%{y:.4~g}")
        name = f"best, epoch {curves.epoch[best]:g}"
        add_points(figure, [curves.epoch[best]], [valid[best]], ACCENT, size=9, name=name)
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="quantile loss, scaled")
    return figure


def learning_rate_figure(curves: TrainingCurves) -> go.Figure:
    """Draw the learning rate by epoch, on a logarithmic axis."""
    figure = new_figure(280, hovermode="x unified", showlegend=False)
    line = {"line": {"shape": "hv"}, "name": "learning rate"}
    add_line(figure, list(curves.epoch), list(curves.learning_rate), MUTED, 1.8, hover="%{y:.2~e}", **line)
    figure.update_xaxes(title_text="epoch")
    rates = sorted({float(f"{rate:.3g}") for rate in curves.learning_rate if rate > 0})
    figure.update_yaxes(title_text="learning rate", type="log")
    if len(rates) <= MAX_NAMED_RATES:  # a schedule of steps: label each; a log axis would label powers of ten alone
        figure.update_yaxes(tickvals=rates, ticktext=[f"{rate:g}" for rate in rates])
    else:
        figure.update_yaxes(nticks=5, tickformat=".1~e")
    return figure


def calibration_figure(scores: Mapping[str, Scores]) -> go.Figure:
    """Draw the share of actuals at or below each quantile forecast over the nominal share; the diagonal is right."""
    figure = new_figure(340)
    add_line(figure, [0, 1], [0, 1], LINE, 1.5, line={"dash": "dot"}, name="perfect calibration")
    colours = (ACCENT, WARM, MUTED) if len(scores) > 2 else (ACCENT, MUTED)
    for (name, score), colour in zip(scores.items(), colours, strict=False):
        levels, shares = list(score.calibration), list(score.calibration.values())
        hover = "%{x:.0%} forecast: %{y:.1%} of actuals at or below<extra></extra>"
        marks: dict[str, Any] = {"mode": "lines+markers", "marker": {"size": 7}}
        add_line(figure, levels, shares, colour, name=escape_name(name), hover=hover, **marks)
    figure.update_xaxes(title_text="quantile forecast", tickformat=".0%", range=[0, 1], showgrid=True)
    figure.update_yaxes(title_text="actuals at or below it", tickformat=".0%", range=[0, 1])
    return figure


def pit_figure(score: Scores) -> go.Figure:
    """Draw the histogram of where actuals fall among the quantile forecasts; level bars are right."""
    bars = score.pit()
    figure = new_figure(340, showlegend=False, bargap=0)
    figure.add_bar(
        x=[(bar.lower + bar.upper) / 2 for bar in bars],
        y=[bar.density for bar in bars],
        width=[bar.upper - bar.lower for bar in bars],
        marker={"color": BAR, "line": {"color": ACCENT, "width": 1}},
        customdata=[[bar.lower, bar.upper, bar.share] for bar in bars],
        hovertemplate="between %{customdata[0]:.0%} and %{customdata[1]:.0%}: %{customdata[2]:.1%} of actuals"
        "<extra></extra>",
    )
    figure.add_hline(y=1, line={"color": INK, "width": 1.2, "dash": "dot"})
    figure.update_xaxes(title_text="quantile level", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title_text="density of actuals (1 is right)", rangemode="tozero")
    return figure


def by_step_figure(by_step: Mapping[str, Sequence[float] | FloatArray], step: str) -> go.Figure:
    """Draw the WQL by step ahead, of the model and its best baseline."""
    count = len(next(iter(by_step.values()), ()))
    return by_group_figure(by_step, list(range(1, count + 1)), f"steps ahead, each {step}")


def by_group_figure(losses: Mapping[str, Sequence[float] | FloatArray], groups: Sequence[Any], title: str) -> go.Figure:
    """Draw the WQL of each predictor by group: numbers, which are joined by a line, or names, which are not."""
    figure = new_figure(300, hovermode="x unified")
    ordered = not any(isinstance(group, str) for group in groups)
    for (name, values), colour in zip(losses.items(), (ACCENT, MUTED, WARM, *PALETTE[2:]), strict=False):
        marks: dict[str, Any] = {"mode": "lines+markers" if len(values) < MAX_MARKED_STEPS else "lines"}
        marks = {"mode": marks["mode"] if ordered else "markers", "marker": {"size": 5 if ordered else 8}}
        add_line(figure, groups, values, colour, name=escape_name(name), hover="%{y:.3~g}", **marks)
    figure.update_xaxes(title_text=title)
    figure.update_yaxes(title_text="weighted quantile loss", rangemode="tozero")
    return figure


def scores_figure(scores: Mapping[str, Mapping[str, float]], best: Mapping[str, float], model: str) -> go.Figure:
    """Draw each score of each predictor as a part of that of the best baseline, the `model` in its colour.

    `scores` are by predictor and name, `best` those of the best baselines, which are the line at 1.
    """
    figure = new_figure(340, bargap=0.3, legend={"traceorder": "normal"})
    colours = iter((MUTED, LINE, BAR, *PALETTE[2:]))
    for name, values in scores.items():
        ratios = {key: value / best[key] for key, value in values.items() if best.get(key, math.nan) > 0}
        figure.add_bar(
            x=list(ratios),
            y=list(ratios.values()),
            name=escape_name(name),
            marker={"color": ACCENT if name == model else next(colours, MUTED)},
            customdata=[values[key] for key in ratios],
            hovertemplate="%{x} %{customdata:,.4~g}, %{y:.2f} of the best baseline's",
        )
    figure.add_hline(y=1, line={"color": INK, "width": 1.2, "dash": "dot"})
    figure.update_yaxes(title_text="score / best baseline's; lower is better", rangemode="tozero")
    return figure
