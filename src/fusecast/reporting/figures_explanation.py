"""Figures of what the network selects and attends to, each described once as a plotly figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from fusecast.data.frequency import format_lag, seasons_for
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.importance import Importance
from fusecast.reporting.figure_style import (
    ACCENT,
    BANDS,
    BAR,
    CLEAR,
    HEAT,
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
    shorten_name,
)
from fusecast.reporting.report_data import Timeline
from fusecast.reporting.text import MINUS, span

MAX_BARS = 15
MAX_HEATMAP_CELLS = 6000


def importance_figure(rows: Sequence[Importance]) -> go.Figure:
    """Draw the mean selection weight of each variable as a bar, a whisker from its 10th to its 90th percentile, and a
    dot at its median.
    """
    rows = list(reversed(rows))  # plotly draws upwards
    figure = _bar_figure(
        {row.variable: row.mean for row in rows},
        [[escape_name(row.variable), row.p10, row.p50, row.p90] for row in rows],
        "<b>%{customdata[0]}</b><br>mean %{x:.1%}, median %{customdata[2]:.1%}<br>"
        "8 of 10 between %{customdata[1]:.1%} and %{customdata[3]:.1%}<extra></extra>",
    )
    whisker_x = [x for row in rows for x in (row.p10, row.p90, None)]
    whisker_y = [y for i in range(len(rows)) for y in (i, i, None)]
    add_line(figure, whisker_x, whisker_y, ACCENT, 1.5)
    add_points(figure, [row.p50 for row in rows], list(range(len(rows))), ACCENT)
    figure.update_xaxes(title_text="share of the selection", tickformat=".0%", rangemode="tozero")
    return figure


def permutation_figure(agreement: pl.DataFrame) -> go.Figure:
    """Draw the increase of the loss when each variable is shuffled, the largest on top; weights on hovering."""
    weights: dict[str, list[str]] = {}
    for row in agreement.iter_rows(named=True):
        weights.setdefault(row["variable"], []).append(f"{row['group']} {row['weight']:.0%}")
    rows = agreement.unique("variable", keep="first", maintain_order=True).sort("increase").tail(MAX_BARS)
    increase = dict(rows.select("variable", "increase").iter_rows())
    figure = _bar_figure(
        increase,
        [[escape_name(name), ", ".join(weights[name])] for name in increase],
        "<b>%{customdata[0]}</b><br>shuffled, the loss changes by %{x:+.1%}<br>"
        "selection: %{customdata[1]}<extra></extra>",
    )
    figure.update_xaxes(title_text="increase of the loss when shuffled", tickformat="+.0%")
    return figure


def share_figure(weights: Mapping[str, float]) -> go.Figure:
    """Draw the share of the selection of each variable as a bar, the last on top."""
    names = [[escape_name(name)] for name in weights]
    figure = _bar_figure(weights, names, "<b>%{customdata[0]}</b> %{x:.1%}<extra></extra>")
    figure.update_xaxes(title_text="share of the selection", tickformat=".0%", rangemode="tozero")
    return figure


def attended_steps_figure(steps: pl.DataFrame) -> go.Figure:
    """Draw the attention to each step: columns `time`, `words` and `attention`, in the order of time."""
    figure = new_figure(320, showlegend=False)
    hover = "<b>%{customdata}</b>: %{y:.2%}<extra></extra>"
    add_line(
        figure,
        plain_times(steps["time"].to_list()),
        steps["attention"].to_numpy(),
        ACCENT,
        hover=hover,
        customdata=steps["words"].to_list(),
    )
    figure.update_xaxes(title_text="time of the step")
    figure.update_yaxes(title_text="share of the attention", tickformat=".1~%", rangemode="tozero")
    return figure


def _bar_figure(bars: Mapping[str, float], customdata: Sequence[Sequence[object]], hover: str) -> go.Figure:
    """Start a figure with one horizontal bar a name, the last on top."""
    height, positions = 34 * len(bars) + 62, list(range(len(bars)))
    figure = new_figure(height, bargap=0.42, showlegend=False, margin={"l": 8, "r": 12, "t": 6, "b": 8})
    figure.add_bar(
        x=list(bars.values()),
        y=positions,
        orientation="h",
        marker={"color": BAR},
        customdata=customdata,
        hovertemplate=hover,
    )
    figure.update_xaxes(showgrid=True)
    figure.update_yaxes(
        tickvals=positions,
        ticktext=[shorten_name(name) for name in bars],
        showgrid=False,
        range=[-0.6, len(bars) - 0.4],
        tickfont={"size": 12, "color": INK},
        ticklabelstandoff=6,
    )
    return figure


def agreement_figure(agreement: pl.DataFrame) -> go.Figure:
    """Draw the selection weight of each variable of one group against the increase of the loss when it is shuffled."""
    figure = new_figure(340, showlegend=False)
    figure.add_scatter(
        x=agreement["weight"].to_list(),
        y=agreement["increase"].to_list(),
        mode="markers+text",
        marker={"color": ACCENT, "size": 7},
        text=[shorten_name(name) for name in agreement["variable"]],
        textposition="top center",
        textfont={"size": 11, "color": MUTED},
        hovertemplate="selection %{x:.1%}, shuffled %{y:+.1%}<extra></extra>",
    )
    figure.update_xaxes(title_text="share of the selection", tickformat=".0%", showgrid=True)
    figure.update_yaxes(title_text="increase of the loss when shuffled", tickformat="+.2~%")
    return figure


def weights_figure(frame: pl.DataFrame, x: str, title: str | None = None) -> go.Figure:
    """Draw the mean selection weight of the foremost variables of one group over a column: `time` or `position`."""
    figure = new_figure(300, hovermode="x unified")
    means = frame.group_by("variable", maintain_order=True).agg(pl.col("mean").mean()).sort("mean", descending=True)
    for name, colour in zip(means["variable"].head(len(PALETTE)), PALETTE, strict=False):
        line = frame.filter(pl.col("variable") == name)
        points = plain_times(line[x].to_list())
        add_line(figure, points, line["mean"].to_numpy(), colour, 1.8, name=shorten_name(name), hover="%{y:.1%}")
    figure.update_xaxes(title_text=title)
    figure.update_yaxes(title_text="share of the selection", tickformat=".0%", rangemode="tozero")
    return figure


def attention_figure(profile: AttentionProfile, frequency: str) -> go.Figure:
    """Draw the mean attention to each position of a window, with a band from the 10th to the 90th percentile."""
    lags = [format_lag(int(position), frequency) for position in profile.position]
    figure = new_figure(340, margin={"l": 8, "r": 12, "t": 34, "b": 8})
    band = {"name": "8 of 10 forecasts", "hoverinfo": "skip"}
    add_band(figure, profile.position, profile.p10, profile.p90, BANDS[1], **band)
    customdata = np.stack([np.array(lags, dtype=object), profile.p10, profile.p90], axis=1)
    hover = (
        "<b>%{customdata[0]}</b><br>mean %{y:.2%}<br>"
        "8 of 10 between %{customdata[1]:.2%} and %{customdata[2]:.2%}<extra></extra>"
    )
    line: dict[str, Any] = {"name": "mean attention", "mode": "lines", "customdata": customdata}
    add_line(figure, profile.position, profile.mean, ACCENT, hover=hover, **line)
    _label_peaks(figure, profile, frequency)
    figure.add_vline(x=-0.5, line={"color": LINE, "width": 1, "dash": "dot"}, layer="below")
    _label_positions(figure, profile, frequency)
    figure.update_yaxes(title_text="share of the attention", tickformat=".1~%", rangemode="tozero")
    return figure


def _label_peaks(figure: go.Figure, profile: AttentionProfile, frequency: str) -> None:
    min_distance = len(profile.position) * 0.12
    labelled: list[int] = []
    for position, height in profile.top_lags(4):
        if any(abs(position - other) < min_distance for other in labelled):
            continue
        labelled.append(position)
        near_edge = position > profile.position[-1] - min_distance
        figure.add_annotation(
            x=position,
            y=height,
            text=f"{span(-position, frequency)} before",
            showarrow=True,
            arrowhead=0,
            arrowwidth=1,
            arrowcolor=MUTED,
            ax=-26 if near_edge else 0,
            ay=-24,
            xanchor="right" if near_edge else "center",
            font={"size": 11, "color": INK},
        )


def attention_map_figure(profiles: Sequence[AttentionProfile], frequency: str) -> go.Figure:
    """Draw the mean attention as a heat map: step ahead over position."""
    position = profiles[0].position
    values = np.stack([profile.mean for profile in profiles])
    stride = max(1, min(math.ceil(values.size / MAX_HEATMAP_CELLS), len(values) // 24))
    steps = np.arange(0, len(values), stride)
    lags = np.array([format_lag(int(one), frequency) for one in position], dtype=object)
    figure = new_figure(300, margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.add_heatmap(
        x=position,
        y=steps + 1,
        z=np.round(values[steps], 6),
        customdata=np.broadcast_to(lags, (len(steps), len(lags))).tolist(),
        colorscale=[[0, HEAT], [0.5, BAR], [1, ACCENT]],
        zmin=0,
        zmax=float(np.nanpercentile(values, 99.5)) or 1.0,
        colorbar={"tickformat": ".1%", "thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11, "color": MUTED}},
        hovertemplate="step %{y} ahead attends to %{customdata}: %{z:.2%}<extra></extra>",
    )
    _label_positions(figure, profiles[0], frequency)
    figure.update_yaxes(title_text="step ahead", autorange="reversed", showgrid=False)
    return figure


def _label_positions(figure: go.Figure, profile: AttentionProfile, frequency: str) -> None:
    """Set ticks at whole seasons where the lookback has some, about eight at most."""
    past, future = -int(profile.position[0]), int(profile.position[-1]) + 1
    seasons = [season for season in seasons_for(frequency) if 2 * season <= past]
    season = max(seasons, default=1)
    if past // season < 3:
        season = min(seasons, default=1)
    every = season * max(1, math.ceil((past + future) / (season * 8)))
    ticks = [-k * every for k in range(past // every, -1, -1)]
    labels = ["0" if tick == 0 else MINUS + span(-tick, frequency) for tick in ticks]
    figure.update_xaxes(tickvals=ticks, ticktext=labels, title_text="before and after the first step forecast")


def timeline_figure(timeline: Timeline) -> go.Figure:
    """Draw the distance of the attention from its average below the actuals; flagged forecasts in another colour."""
    figure = new_figure(300 if timeline.actual is None else 380, hovermode="x unified")
    times = plain_times(timeline.times)
    marks: dict[str, Any] = {"name": "distance of the attention", "marker": {"color": ACCENT, "size": 5}}
    if timeline.actual is None:
        marks["mode"] = "markers"
    add_line(figure, times, np.round(timeline.distance, 5), ACCENT, 1.6, hover="%{y:.2f}", **marks)
    name = f"flagged above {timeline.threshold:.2f}"
    add_line(figure, times[:1] + times[-1:], [timeline.threshold] * 2, MUTED, 1, line={"dash": "dash"}, name=name)
    flagged = np.flatnonzero(timeline.distance > timeline.threshold)
    if flagged.size:
        add_points(figure, [times[i] for i in flagged], timeline.distance[flagged], WARM, name="flagged")
    figure.update_yaxes(title_text="distance", rangemode="tozero")
    if timeline.actual is not None:
        name = escape_name(timeline.target)
        add_line(figure, times, timeline.actual, LINE, 1.1, name=name, yaxis="y2", hover="%{y:,.5~r}")
        above = {"domain": [0.64, 1], "anchor": "x", "gridcolor": CLEAR, "title_text": name}
        figure.update_layout(yaxis={"domain": [0, 0.58]}, yaxis2=above)
    return figure
