"""Figures of what the network selects and attends to, each described once as a plotly figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from fusecast.data.duration_text import format_lag, format_step
from fusecast.data.frequency import seasons_for
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.explanation import Explanation
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
    add_line,
    escape_name,
    new_figure,
    plain_times,
    shorten_name,
    stack_figures,
)
from fusecast.reporting.report_data import Timeline
from fusecast.reporting.text import MINUS, span

MAX_BARS = 15
MAX_LINES = len(PALETTE)
MAX_HEATMAP_CELLS = 6000
POSITIONS_TITLE = "before and after the first step forecast"


def explanation_figures(explanation: Explanation) -> dict[str, go.Figure]:
    """Draw everything that an explanation holds, for files and notebooks: figures with titles, by name."""
    frequency = explanation.panel.schema.frequency
    share = "variables: share of the selection"
    figures: dict[str, dict[str, go.Figure]] = {
        "importances": {
            f"{group} {share}; mean, median, 10th to 90th percentile": importance_figure(rows[:MAX_BARS])
            for group in ("past", "future", "static")
            if (rows := [row for row in explanation.importances if row.group == group])
        },
        "importance_over_time": {
            f"{group} {share}, by date": importance_over_time_figure(frame)
            for group, frame in _groups(explanation.importance_over_time)
        },
        "importance_by_step": {
            f"{group} {share}, by position": importance_by_position_figure(frame, frequency)
            for group, frame in _groups(explanation.importance_by_step)
        },
        "attention": {"attention by position": attention_figure(explanation.attention, frequency)},
        "attention_by_step": {
            "attention of each step ahead": attention_map_figure(explanation.attention_by_step, frequency)
        },
    }
    timeline = Timeline.from_explanation(explanation)
    if timeline is not None:
        title = f"{escape_name(timeline.series)}: distance of the attention from its average"
        figures["regimes"] = {title: timeline_figure(timeline)}
    if explanation.agreement is not None:
        correlation = explanation.agreement.correlation
        figures["agreement"] = {
            f"{group} variables: weight and shuffling"
            + (f", rank correlation {correlation[group]:.2f}" if group in correlation else ""): agreement_figure(frame)
            for group, frame in _groups(explanation.agreement.table.filter(~pl.col("constant")))
        }
    return {name: stack_figures(parts) for name, parts in figures.items() if parts}


def _groups(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    if not frame.height:
        return []
    groups = frame["group"].unique(maintain_order=True).to_list()
    return [(group, frame.filter(pl.col("group") == group)) for group in groups]


def importance_figure(rows: Sequence[Importance]) -> go.Figure:
    """Draw the mean selection weight of each variable as a bar, a whisker from its 10th to its 90th percentile, and a
    dot at its median.
    """
    rows = list(reversed(rows))  # plotly draws upwards
    figure = _bar_figure([row.variable for row in rows])
    places = list(range(len(rows)))
    figure.add_bar(
        x=[row.mean for row in rows],
        y=places,
        orientation="h",
        marker={"color": BAR},
        customdata=[[escape_name(row.variable), row.p10, row.p50, row.p90] for row in rows],
        hovertemplate=(
            "<b>%{customdata[0]}</b><br>mean %{x:.1%}, median %{customdata[2]:.1%}<br>"
            "8 of 10 between %{customdata[1]:.1%} and %{customdata[3]:.1%}<extra></extra>"
        ),
    )
    whisker_x: list[float | None] = []
    whisker_y: list[float | None] = []
    for i, row in enumerate(rows):
        whisker_x += [row.p10, row.p90, None]
        whisker_y += [i, i, None]
    add_line(figure, whisker_x, whisker_y, ACCENT, 1.5)
    dots = {"mode": "markers", "marker": {"color": ACCENT, "size": 7}}
    figure.add_scatter(x=[row.p50 for row in rows], y=places, hoverinfo="skip", **dots)
    figure.update_xaxes(title_text="share of the selection", tickformat=".0%", rangemode="tozero")
    return figure


def permutation_figure(agreement: pl.DataFrame) -> go.Figure:
    """Draw the increase of the loss when each variable is shuffled, the largest on top; weights on hovering."""
    weights: dict[str, list[str]] = {}
    for row in agreement.iter_rows(named=True):
        weights.setdefault(row["variable"], []).append(f"{row['group']} {row['weight']:.0%}")
    rows = agreement.unique("variable", keep="first", maintain_order=True).sort("increase").tail(MAX_BARS)
    names = rows["variable"].to_list()
    figure = _bar_figure(names)
    figure.add_bar(
        x=rows["increase"].to_list(),
        y=list(range(len(names))),
        orientation="h",
        marker={"color": BAR},
        customdata=[[escape_name(name), ", ".join(weights[name])] for name in names],
        hovertemplate="<b>%{customdata[0]}</b><br>shuffled, the loss changes by %{x:+.1%}<br>"
        "selection: %{customdata[1]}<extra></extra>",
    )
    figure.update_xaxes(title_text="increase of the loss when shuffled", tickformat="+.0%")
    return figure


def _bar_figure(names: Sequence[str]) -> go.Figure:
    """Start a figure with one horizontal bar a name, the last on top."""
    height = 34 * len(names) + 62
    figure = new_figure(height, bargap=0.42, showlegend=False, margin={"l": 8, "r": 12, "t": 6, "b": 8})
    figure.update_xaxes(showgrid=True)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[shorten_name(name) for name in names],
        showgrid=False,
        range=[-0.6, len(names) - 0.4],
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
    figure.update_yaxes(title_text="increase of the loss when shuffled", tickformat="+.0%")
    return figure


def importance_over_time_figure(frame: pl.DataFrame) -> go.Figure:
    """Draw the mean selection weight of the foremost variables of one group by date."""
    return _weight_lines(frame, "time")


def importance_by_position_figure(frame: pl.DataFrame, frequency: str) -> go.Figure:
    """Draw the mean selection weight of the foremost variables of one group by position in the window."""
    figure = _weight_lines(frame, "position")
    figure.update_xaxes(title_text=f"position, in steps of one {format_step(frequency)}")
    return figure


def _weight_lines(frame: pl.DataFrame, x: str) -> go.Figure:
    figure = new_figure(300, hovermode="x unified")
    means = frame.group_by("variable", maintain_order=True).agg(pl.col("mean").mean()).sort("mean", descending=True)
    for name, colour in zip(means["variable"].head(MAX_LINES), PALETTE, strict=False):
        line = frame.filter(pl.col("variable") == name)
        points = plain_times(line[x].to_list())
        add_line(figure, points, line["mean"].to_numpy(), colour, 1.8, name=shorten_name(name), hover="%{y:.1%}")
    figure.update_yaxes(title_text="share of the selection", tickformat=".0%", rangemode="tozero")
    return figure


def attention_figure(profile: AttentionProfile, frequency: str) -> go.Figure:
    """Draw the mean attention to each position of a window, with a band from the 10th to the 90th percentile."""
    lags = [format_lag(int(position), frequency) for position in profile.position]
    figure = new_figure(340, margin={"l": 8, "r": 12, "t": 34, "b": 8})
    edge: dict[str, Any] = {"x": profile.position, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(y=profile.p10, showlegend=False, **edge)
    figure.add_scatter(y=profile.p90, name="8 of 10 forecasts", fill="tonexty", fillcolor=BANDS[1], **edge)
    figure.add_scatter(
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
    _label_peaks(figure, profile, frequency)
    line = {"color": LINE, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=-0.5, x1=-0.5, yref="paper", y0=0, y1=1, line=line, layer="below")
    ticks, labels = lag_ticks(profile, frequency)
    figure.update_xaxes(tickvals=ticks, ticktext=labels, title_text=POSITIONS_TITLE)
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
    ticks, labels = lag_ticks(profiles[0], frequency)
    figure.update_xaxes(tickvals=ticks, ticktext=labels, title_text=POSITIONS_TITLE)
    figure.update_yaxes(title_text="step ahead", autorange="reversed", showgrid=False)
    return figure


def lag_ticks(profile: AttentionProfile, frequency: str) -> tuple[list[int], list[str]]:
    """Return ticks at whole seasons where the lookback has some, about eight at most, and their labels."""
    past, future = -int(profile.position[0]), int(profile.position[-1]) + 1
    seasons = [season for season in seasons_for(frequency) if 2 * season <= past]
    season = max(seasons, default=1)
    if past // season < 3:
        season = min(seasons, default=1)
    every = season * max(1, math.ceil((past + future) / (season * 8)))
    ticks = [-k * every for k in range(past // every, -1, -1)]
    return ticks, ["0" if tick == 0 else MINUS + span(-tick, frequency) for tick in ticks]


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
        figure.add_scatter(
            x=[times[i] for i in flagged],
            y=timeline.distance[flagged],
            name="flagged",
            mode="markers",
            marker={"color": WARM, "size": 7},
            hoverinfo="skip",
        )
    figure.update_yaxes(title_text="distance", rangemode="tozero")
    if timeline.actual is not None:
        _add_actuals_above(figure, timeline, times)
    return figure


def _add_actuals_above(figure: go.Figure, timeline: Timeline, times: Sequence[Any]) -> None:
    name = escape_name(timeline.target)
    add_line(figure, times, timeline.actual, LINE, 1.1, name=name, yaxis="y2", hover="%{y:,.5~r}")
    figure.update_layout(
        yaxis={"domain": [0, 0.58]},
        yaxis2={
            "domain": [0.64, 1],
            "anchor": "x",
            "gridcolor": CLEAR,
            "tickfont": {"size": 12, "color": MUTED},
            "title": {"text": name, "font": {"size": 12, "color": MUTED}, "standoff": 10},
            "zeroline": False,
            "automargin": True,
            "separatethousands": True,
        },
    )
