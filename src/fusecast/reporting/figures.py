"""Figures of the report as plotly objects."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from fusecast.data.duration_text import format_lag
from fusecast.data.frequency import seasons_for
from fusecast.evaluation.metrics import Scores, median_of
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.importance import Importance
from fusecast.reporting import text
from fusecast.reporting.report_data import FanForecast, ForecastPlot, Timeline, TrainingCurves

FONT = '"Inter", system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif'

INK = "#22262B"
MUTED = "#6A6F76"
GRID = "#E9E5DC"
LINE = "#CFC9BD"
ACCENT = "#0E6F85"
WARM = "#C4591B"
BAR = "#8DBAC4"
SURFACE = "#FFFEFB"
HEAT = "rgba(14,111,133,0.03)"
PALETTE = (ACCENT, WARM, "#7566B3", "#5A8A3A", "#B24A80", "#8A7A2E")
BANDS = ("rgba(14,111,133,0.14)", "rgba(14,111,133,0.17)", "rgba(14,111,133,0.20)", "rgba(14,111,133,0.23)")

# Figures are made in the light colours; the page swaps each for its dark twin where the reader prefers dark.
DARK = {
    INK: "#E9E7E2",
    MUTED: "#A0A4A8",
    GRID: "#2B3035",
    LINE: "#454B51",
    ACCENT: "#62C6DC",
    WARM: "#F2995F",
    BAR: "#2F7686",
    SURFACE: "#1B1F23",
    HEAT: "rgba(98,198,220,0.04)",
    PALETTE[2]: "#B0A4EE",
    PALETTE[3]: "#9CCB78",
    PALETTE[4]: "#EE8FBC",
    PALETTE[5]: "#CDBD6A",
    BANDS[0]: "rgba(98,198,220,0.15)",
    BANDS[1]: "rgba(98,198,220,0.18)",
    BANDS[2]: "rgba(98,198,220,0.21)",
    BANDS[3]: "rgba(98,198,220,0.24)",
}


def _axis(**options: Any) -> dict[str, Any]:
    return {
        "gridcolor": GRID,
        "linecolor": LINE,
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "title": {"font": {"size": 12, "color": MUTED}, "standoff": 10},
        "tickfont": {"size": 12, "color": MUTED},
        **options,
    }


TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "xaxis": _axis(showgrid=False, showline=True),
        "yaxis": _axis(showline=False, separatethousands=True),
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "font": {"size": 12, "color": MUTED},
            "bgcolor": "rgba(0,0,0,0)",
        },
        "hoverlabel": {
            "bgcolor": SURFACE,
            "bordercolor": LINE,
            "font": {"family": FONT, "size": 12, "color": INK},
            "align": "left",
        },
        "hovermode": "closest",
    }
)


def figure(height: int, **layout: Any) -> go.Figure:
    """Start a figure of the house, so many pixels high and as wide as its place."""
    return go.Figure(layout={"template": TEMPLATE, "height": height, **layout})


LONGEST_NAME = 26
HORIZONS_OF_HISTORY = 4
LEAST_HISTORY = 48
MOST_RATES = 6


def forecast_figure(fan: ForecastPlot) -> go.Figure:
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


def _recent(fan: ForecastPlot) -> tuple[list[Any], NDArray[np.float64]]:
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
    lags = [format_lag(int(position), frequency) for position in profile.position]
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
            text=f"{text.span(-position, frequency)} before",
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
    return vals, ["0" if v == 0 else text.MINUS + text.span(-v, frequency) for v in vals]


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


MOST_LINES = 6
MOST_CELLS = 6000


def calibration_figure(scores: Mapping[str, Scores]) -> go.Figure:
    """Share of actuals at or below each quantile forecast, over the share there should be; the diagonal is right."""
    drawn = figure(340)
    diagonal = {"color": LINE, "width": 1.5, "dash": "dot"}
    drawn.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, name="as it should be", hoverinfo="skip")
    colours = (ACCENT, WARM, MUTED) if len(scores) > 2 else (ACCENT, MUTED)
    for (name, score), colour in zip(scores.items(), colours, strict=False):
        drawn.add_scatter(
            x=list(score.calibration),
            y=list(score.calibration.values()),
            name=escaped(name),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 7},
            hovertemplate="%{x:.0%} forecast: %{y:.1%} of actuals at or below<extra></extra>",
        )
    drawn.update_xaxes(title_text="quantile forecast", tickformat=".0%", range=[0, 1], showgrid=True)
    drawn.update_yaxes(title_text="actuals at or below it", tickformat=".0%", range=[0, 1])
    return drawn


def pit_figure(score: Scores) -> go.Figure:
    """Histogram of where actuals fall among the quantile forecasts; level bars are right."""
    bars = score.pit()
    drawn = figure(340, showlegend=False, bargap=0)
    drawn.add_bar(
        x=[(bar.lower + bar.upper) / 2 for bar in bars],
        y=[bar.density for bar in bars],
        width=[bar.upper - bar.lower for bar in bars],
        marker={"color": BAR, "line": {"color": ACCENT, "width": 1}},
        customdata=[[bar.lower, bar.upper, bar.share] for bar in bars],
        hovertemplate="between %{customdata[0]:.0%} and %{customdata[1]:.0%}: %{customdata[2]:.1%} of actuals"
        "<extra></extra>",
    )
    line = {"color": INK, "width": 1.2, "dash": "dot"}
    drawn.add_shape(type="line", x0=0, x1=1, y0=1, y1=1, line=line)
    drawn.update_xaxes(title_text="quantile level", tickformat=".0%", range=[0, 1])
    drawn.update_yaxes(title_text="actuals, relative to their due", rangemode="tozero")
    return drawn


def by_step_figure(by_step: Mapping[str, NDArray[np.float64]], step: str) -> go.Figure:
    """WQL by step ahead, the model and its best rival."""
    drawn = figure(300, hovermode="x unified")
    for (name, values), colour in zip(by_step.items(), (ACCENT, MUTED, WARM), strict=False):
        drawn.add_scatter(
            x=np.arange(1, len(values) + 1),
            y=values,
            name=escaped(name),
            mode="lines+markers" if len(values) < 60 else "lines",
            line={"color": colour, "width": 2},
            marker={"size": 5},
            hovertemplate="%{y:.3~g}",
        )
    drawn.update_xaxes(title_text=f"steps ahead, each {step}")
    drawn.update_yaxes(title_text="weighted quantile loss", rangemode="tozero")
    return drawn


def attention_map(profiles: Sequence[AttentionProfile], frequency: str) -> go.Figure:
    """Heat map of the mean attention: step ahead over position."""
    position = profiles[0].position
    values = np.stack([profile.mean for profile in profiles])
    thin = max(1, -(-values.size // MOST_CELLS))
    steps = np.arange(len(values))[:: max(1, min(thin, len(values) // 24))]
    lags = [format_lag(int(place), frequency) for place in position]
    drawn = figure(300, margin={"l": 8, "r": 8, "t": 8, "b": 8})
    drawn.add_heatmap(
        x=position,
        y=steps + 1,
        z=np.round(values[steps], 6),
        customdata=np.broadcast_to(np.array(lags, dtype=object), (len(steps), len(lags))).tolist(),
        colorscale=[[0, HEAT], [0.5, BAR], [1, ACCENT]],
        zmin=0,
        zmax=float(np.nanpercentile(values, 99.5)) or 1.0,
        colorbar={"tickformat": ".1%", "thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11, "color": MUTED}},
        hovertemplate="step %{y} ahead looks at %{customdata}: %{z:.2%}<extra></extra>",
    )
    vals, texts = lag_ticks(profiles[0], frequency)
    drawn.update_xaxes(tickvals=vals, ticktext=texts, title_text="before and after the first step forecast")
    drawn.update_yaxes(title_text="step ahead", autorange="reversed", showgrid=False)
    return drawn


def over_time_figure(frame: pl.DataFrame) -> go.Figure:
    """Mean selection weight of the foremost variables of one group by date."""
    drawn = figure(300, hovermode="x unified")
    means = frame.group_by("variable", maintain_order=True).agg(pl.col("mean").mean()).sort("mean", descending=True)
    for name, colour in zip(means["variable"].head(MOST_LINES), PALETTE, strict=False):
        own = frame.filter(pl.col("variable") == name)
        drawn.add_scatter(
            x=plain_times(own["time"].to_list()),
            y=own["mean"].to_numpy(),
            name=shortened(name),
            mode="lines",
            line={"color": colour, "width": 1.8},
            hovertemplate="%{y:.1%}",
        )
    drawn.update_yaxes(title_text="share of the selection", tickformat=".0%", rangemode="tozero")
    return drawn


def timeline_figure(timeline: Timeline) -> go.Figure:
    """Distance of the attention from its average over the actuals; flagged forecasts in another colour."""
    drawn = figure(380, hovermode="x unified")
    times = plain_times(timeline.times)
    drawn.add_scatter(
        x=times,
        y=timeline.actual,
        name=escaped(timeline.target),
        yaxis="y2",
        mode="lines",
        line={"color": LINE, "width": 1.1},
        hovertemplate="%{y:,.5~r}",
    )
    drawn.add_scatter(
        x=times,
        y=np.round(timeline.distance, 5),
        name="distance of the attention",
        mode="lines",
        line={"color": ACCENT, "width": 1.6},
        hovertemplate="%{y:.2f}",
    )
    ends = [times[0], times[-1]] if times else []
    limit = {"color": MUTED, "width": 1, "dash": "dash"}
    name = f"flagged above {timeline.threshold:.2f}"
    drawn.add_scatter(x=ends, y=[timeline.threshold] * len(ends), mode="lines", line=limit, name=name, hoverinfo="skip")
    flagged = np.flatnonzero(timeline.distance > timeline.threshold)
    if flagged.size:
        drawn.add_scatter(
            x=[times[place] for place in flagged],
            y=timeline.distance[flagged],
            name="flagged",
            mode="markers",
            marker={"color": WARM, "size": 7},
            hoverinfo="skip",
        )
    drawn.update_yaxes(title_text="distance", rangemode="tozero", domain=[0, 0.58])
    drawn.update_layout(
        yaxis2={
            "domain": [0.64, 1],
            "anchor": "x",
            "gridcolor": "rgba(0,0,0,0)",
            "tickfont": {"size": 12, "color": MUTED},
            "title": {"text": escaped(timeline.target), "font": {"size": 12, "color": MUTED}, "standoff": 10},
            "zeroline": False,
            "automargin": True,
            "separatethousands": True,
        }
    )
    return drawn


def agreement_figure(table: pl.DataFrame) -> go.Figure:
    """Rise of the loss when each variable is shuffled, the largest on top; the hover has the selection weights."""
    weights: dict[str, list[str]] = {}
    for row in table.iter_rows(named=True):
        weights.setdefault(row["variable"], []).append(f"{row['group']} {row['weight']:.0%}")
    own = table.unique("variable", keep="first", maintain_order=True).sort("increase").tail(15)
    place = list(range(own.height))
    drawn = figure(30 * own.height + 62, bargap=0.42, showlegend=False, margin={"l": 8, "r": 12, "t": 6, "b": 8})
    drawn.add_bar(
        x=own["increase"].to_list(),
        y=place,
        orientation="h",
        marker={"color": BAR},
        customdata=[[escaped(name), ", ".join(weights[name])] for name in own["variable"]],
        hovertemplate="<b>%{customdata[0]}</b><br>shuffled, the loss changes by %{x:+.1%}<br>"
        "selection: %{customdata[1]}<extra></extra>",
    )
    drawn.update_xaxes(title_text="rise of the loss when shuffled", tickformat="+.0%", showgrid=True)
    names = [shortened(name) for name in own["variable"]]
    drawn.update_yaxes(tickvals=place, ticktext=names, showgrid=False, range=[-0.6, own.height - 0.4])
    drawn.update_yaxes(tickfont={"size": 12, "color": INK}, ticklabelstandoff=6)
    return drawn
