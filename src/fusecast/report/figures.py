"""The figures of a report, as plotly objects in the house style."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from fusecast.evaluation.metrics import median_of
from fusecast.evaluation.seasons import seasons_for
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.importance import Importance
from fusecast.explain.lags import lag_in_words
from fusecast.report import words
from fusecast.report.content import Fan, FanForecast, TrainingCurves
from fusecast.report.style import ACCENT, BANDS, BAR, INK, LINE, MUTED, WARM, figure

LONGEST_NAME = 26
HORIZONS_OF_HISTORY = 4
LEAST_HISTORY = 48
MOST_RATES = 6


def fan_figure(fan: Fan) -> go.Figure:
    """Actuals of one series with its forecasts: the median and the central intervals around it."""
    drawn = figure(420, hovermode="x unified", legend={"traceorder": "normal"})
    for number, forecast in enumerate(fan.forecasts):
        _draw_bands(drawn, forecast, first=number == 0)
    times, actual = _recent(fan)
    drawn.add_scatter(
        x=times,
        y=actual,
        name="actual",
        mode="lines",
        line={"color": INK, "width": 1.6},
        hovertemplate="%{y:,.5~r}",
    )
    for number, forecast in enumerate(fan.forecasts):
        drawn.add_scatter(
            x=plain_times(forecast.times),
            y=median_of(forecast.quantiles, forecast.levels),
            name="forecast, median",
            mode="lines",
            line={"color": ACCENT, "width": 2.2},
            legendgroup="median",
            showlegend=number == 0,
            hovertemplate="%{y:,.5~r}",
        )
        _mark_start(drawn, forecast)
    drawn.update_yaxes(title_text=escaped(fan.target))
    return drawn


def _recent(fan: Fan) -> tuple[list[Any], NDArray[np.float64]]:
    """Give the actuals from some horizons before the first forecast on: more would leave it no room."""
    times = plain_times(fan.times)
    starts = [
        (plain_times(forecast.times)[0], len(forecast.times)) for forecast in fan.forecasts if len(forecast.times)
    ]
    first = min((times.index(start) for start, _ in starts if start in times), default=len(times))
    begin = max(0, first - max([LEAST_HISTORY, *(HORIZONS_OF_HISTORY * steps for _, steps in starts)]))
    return times[begin:], np.asarray(fan.actual, dtype=float)[begin:]


def _draw_bands(drawn: go.Figure, forecast: FanForecast, *, first: bool) -> None:
    times = plain_times(forecast.times)
    for number in range(len(forecast.levels) // 2):
        low, high = forecast.quantiles[:, number], forecast.quantiles[:, -1 - number]
        lower, upper = forecast.levels[number], forecast.levels[-1 - number]
        name = f"{upper - lower:.0%} interval" if abs(lower + upper - 1) < 1e-9 else f"{lower:g} to {upper:g} quantile"
        edge: dict[str, Any] = {"x": times, "mode": "lines", "line": {"width": 0}, "legendgroup": name}
        drawn.add_scatter(y=low, showlegend=False, hoverinfo="skip", **edge)
        drawn.add_scatter(
            y=high,
            name=name,
            showlegend=first,
            fill="tonexty",
            fillcolor=BANDS[min(number, len(BANDS) - 1)],
            customdata=np.stack([low, high], axis=1),
            hovertemplate="%{customdata[0]:,.5~r} to %{customdata[1]:,.5~r}",
            **edge,
        )


def _mark_start(drawn: go.Figure, forecast: FanForecast) -> None:
    times = plain_times(forecast.times)
    if not times:
        return
    line = {"color": LINE, "width": 1, "dash": "dot"}
    drawn.add_shape(type="line", x0=times[0], x1=times[0], yref="paper", y0=0, y1=1, line=line, layer="below")
    drawn.add_annotation(
        x=times[0],
        y=1,
        yref="paper",
        text=escaped(forecast.name),
        showarrow=False,
        xanchor="left",
        yanchor="top",
        xshift=5,
        font={"size": 11, "color": MUTED},
    )


def importance_figure(rows: Sequence[Importance]) -> go.Figure:
    """Bars of the mean selection weight of each variable, whiskers from its 10th to its 90th percentile."""
    rows = list(reversed(rows))  # plotly draws upwards
    names = [shortened(row.variable) for row in rows]
    place = list(range(len(rows)))
    drawn = figure(34 * len(rows) + 62, bargap=0.42, showlegend=False, margin={"l": 8, "r": 12, "t": 6, "b": 8})
    drawn.add_bar(
        x=[row.mean for row in rows],
        y=place,
        orientation="h",
        marker={"color": BAR},
        customdata=[[escaped(row.variable), row.p10, row.p50, row.p90] for row in rows],
        hovertemplate=(
            "<b>%{customdata[0]}</b><br>mean %{x:.1%}, median %{customdata[2]:.1%}<br>"
            "8 of 10 between %{customdata[1]:.1%} and %{customdata[3]:.1%}<extra></extra>"
        ),
    )
    whisker_x: list[float | None] = []
    whisker_y: list[float | None] = []
    for number, row in enumerate(rows):
        whisker_x += [row.p10, row.p90, None]
        whisker_y += [number, number, None]
    drawn.add_scatter(x=whisker_x, y=whisker_y, mode="lines", line={"color": ACCENT, "width": 1.5}, hoverinfo="skip")
    drawn.add_scatter(
        x=[row.p50 for row in rows],
        y=place,
        mode="markers",
        marker={"color": ACCENT, "size": 7},
        hoverinfo="skip",
    )
    drawn.update_xaxes(title_text="share of the selection", tickformat=".0%", rangemode="tozero", showgrid=True)
    drawn.update_yaxes(tickvals=place, ticktext=names, showgrid=False, range=[-0.6, len(rows) - 0.4])
    drawn.update_yaxes(tickfont={"size": 12, "color": INK}, ticklabelstandoff=6)
    return drawn


def attention_figure(profile: AttentionProfile, frequency: str) -> go.Figure:
    """Mean attention to each position of a window, with a band from the 10th to the 90th percentile."""
    lags = [lag_in_words(int(position), frequency) for position in profile.position]
    drawn = figure(340, hovermode="closest", margin={"l": 8, "r": 12, "t": 34, "b": 8})
    edge: dict[str, Any] = {"x": profile.position, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    drawn.add_scatter(y=profile.p10, showlegend=False, **edge)
    drawn.add_scatter(y=profile.p90, name="8 of 10 forecasts", fill="tonexty", fillcolor=BANDS[1], **edge)
    drawn.add_scatter(
        x=profile.position,
        y=profile.mean,
        name="mean attention",
        mode="lines",
        line={"color": ACCENT, "width": 2},
        customdata=np.stack([np.array(lags, dtype=object), profile.p10, profile.p90], axis=1),
        hovertemplate=(
            "<b>%{customdata[0]}</b><br>mean %{y:.2%}<br>"
            "8 of 10 between %{customdata[1]:.2%} and %{customdata[2]:.2%}<extra></extra>"
        ),
    )
    _label_peaks(drawn, profile, frequency)
    line = {"color": LINE, "width": 1, "dash": "dot"}
    drawn.add_shape(type="line", x0=-0.5, x1=-0.5, yref="paper", y0=0, y1=1, line=line, layer="below")
    vals, texts = lag_ticks(profile, frequency)
    drawn.update_xaxes(tickvals=vals, ticktext=texts, title_text="before and after the first step forecast")
    drawn.update_yaxes(title_text="share of the attention", tickformat=".1~%", rangemode="tozero")
    return drawn


def _label_peaks(drawn: go.Figure, profile: AttentionProfile, frequency: str) -> None:
    room = len(profile.position) * 0.12
    labelled: list[int] = []
    for position, height in profile.top_lags(4):
        if any(abs(position - other) < room for other in labelled):
            continue
        labelled.append(position)
        near_edge = position > profile.position[-1] - room
        drawn.add_annotation(
            x=position,
            y=height,
            text=f"{words.span(-position, frequency)} before",
            showarrow=True,
            arrowhead=0,
            arrowwidth=1,
            arrowcolor=MUTED,
            ax=-26 if near_edge else 0,
            ay=-24,
            xanchor="right" if near_edge else "center",
            font={"size": 11, "color": INK},
        )


def lag_ticks(profile: AttentionProfile, frequency: str) -> tuple[list[int], list[str]]:
    """Ticks at whole seasons where the lookback has some, at most about eight; words for them."""
    past, future = -int(profile.position[0]), int(profile.position[-1]) + 1
    season = max((s for s in seasons_for(frequency) if 2 * s <= past), default=1)
    if past // season < 3:
        season = min((s for s in seasons_for(frequency) if 2 * s <= past), default=1)
    every = season * max(1, -(-(past + future) // (season * 8)))
    vals = [-k * every for k in range(past // every, -1, -1)]
    return vals, ["0" if v == 0 else words.MINUS + words.span(-v, frequency) for v in vals]


def loss_figure(curves: TrainingCurves) -> go.Figure:
    """Loss in training and in validation by epoch, the best epoch marked."""
    drawn = figure(280, hovermode="x unified")
    mode = _lines_through(curves.epoch)
    drawn.add_scatter(
        x=list(curves.epoch),
        y=list(curves.train_loss),
        name="training",
        mode=mode,
        line={"color": WARM, "width": 1.8},
        hovertemplate="%{y:.4~g}",
    )
    valid = np.asarray(curves.valid_loss, dtype=float)
    if len(valid) and not np.isnan(valid).all():
        best = int(np.nanargmin(valid))
        drawn.add_scatter(
            x=list(curves.epoch),
            y=valid,
            name="validation",
            mode=mode,
            line={"color": ACCENT, "width": 2.2},
            hovertemplate="%{y:.4~g}",
        )
        drawn.add_scatter(
            x=[curves.epoch[best]],
            y=[valid[best]],
            name=f"best, epoch {curves.epoch[best]:g}",
            mode="markers",
            marker={"color": ACCENT, "size": 9},
            hoverinfo="skip",
        )
    drawn.update_xaxes(title_text="epoch")
    drawn.update_yaxes(title_text="quantile loss, scaled")
    return drawn


def learning_rate_figure(curves: TrainingCurves) -> go.Figure:
    """Learning rate by epoch, on a logarithmic axis."""
    drawn = figure(280, hovermode="x unified", showlegend=False)
    drawn.add_scatter(
        x=list(curves.epoch),
        y=list(curves.learning_rate),
        name="learning rate",
        mode=_lines_through(curves.epoch),
        line={"color": MUTED, "width": 1.8, "shape": "hv"},
        hovertemplate="%{y:.2~e}",
    )
    drawn.update_xaxes(title_text="epoch")
    rates = sorted({float(f"{rate:.3g}") for rate in curves.learning_rate if rate > 0})
    drawn.update_yaxes(title_text="learning rate", type="log")
    if len(rates) <= MOST_RATES:  # a schedule of steps: name each; a log axis would show powers of ten alone
        drawn.update_yaxes(tickvals=rates, ticktext=[f"{rate:g}" for rate in rates])
    else:
        drawn.update_yaxes(nticks=5, tickformat=".1~e")
    return drawn


def _lines_through(epochs: Sequence[float]) -> str:
    """A line through one point alone would not be seen."""
    return "lines" if len(epochs) > 1 else "lines+markers"


def plain_times(times: Sequence[Any]) -> list[Any]:
    """Give times as plotly takes them: ISO text on the wall clock of their own zone, or numbers."""
    values = np.asarray(times)
    if values.dtype.kind == "M":
        return [str(t) for t in values.astype("datetime64[s]")]
    if values.dtype.kind in "iuf":
        plain: list[Any] = values.tolist()
        return plain
    return [t.replace(tzinfo=None).isoformat() if isinstance(t, dt.datetime) else str(t) for t in times]


def escaped(text: str) -> str:
    """Make a name inert where plotly would read tags and entities."""
    return html.escape(str(text), quote=False)


def shortened(text: str) -> str:
    """Cut a long name for an axis; its whole is in the hover."""
    return escaped(text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…")
