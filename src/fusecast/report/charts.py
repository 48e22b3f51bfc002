"""Figures of how good a model is and how it looks at things over time, in the house style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from fusecast.evaluation.scores import Scores
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.lags import lag_in_words
from fusecast.report.content import Timeline
from fusecast.report.figures import escaped, lag_ticks, plain_times, shortened
from fusecast.report.style import ACCENT, BAR, HEAT, INK, LINE, MUTED, PALETTE, WARM, figure

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
    lags = [lag_in_words(int(place), frequency) for place in position]
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
