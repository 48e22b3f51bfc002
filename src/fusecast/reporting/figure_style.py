"""The common style of all figures: colours, template, names, times."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fusecast.data.arrays import FloatArray, IntArray

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
CLEAR = "rgba(0,0,0,0)"
PALETTE = (ACCENT, WARM, "#7566B3", "#5A8A3A", "#B24A80", "#8A7A2E")
BANDS = ("rgba(14,111,133,0.14)", "rgba(14,111,133,0.17)", "rgba(14,111,133,0.20)", "rgba(14,111,133,0.23)")

# Figures are built in the light colours; the page replaces each by its dark counterpart where the reader prefers dark.
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

MAX_NAME_LENGTH = 26
Times = Sequence[Any] | IntArray
TITLE_HEIGHT, LEGEND_HEIGHT, LABEL_HEIGHT = 30, 26, 64  # pixels around each of several stacked figures
TILE_HEIGHT = 290  # of each of several figures side by side
MAX_TILES_OF_TWO = 10  # from so many figures on there are three columns of them

LEGEND = {
    "orientation": "h",
    "x": 0,
    "y": 1.02,
    "xanchor": "left",
    "yanchor": "bottom",
    "font": {"size": 12, "color": MUTED},
    "bgcolor": CLEAR,
}


AXIS = {
    "gridcolor": GRID,
    "linecolor": LINE,
    "zeroline": False,
    "ticks": "",
    "automargin": True,
    "title": {"font": {"size": 12, "color": MUTED}, "standoff": 10},
    "tickfont": {"size": 12, "color": MUTED},
}


TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "xaxis": {**AXIS, "showgrid": False, "showline": True},
        "yaxis": {**AXIS, "showline": False, "separatethousands": True},
        "legend": LEGEND,
        "hoverlabel": {
            "bgcolor": SURFACE,
            "bordercolor": LINE,
            "font": {"family": FONT, "size": 12, "color": INK},
            "align": "left",
        },
        "hovermode": "closest",
    }
)


def new_figure(height: int, **layout: Any) -> go.Figure:
    """Start a figure in the common style, so many pixels high and as wide as its container."""
    return go.Figure(layout={"template": TEMPLATE, "height": height, **layout})


def add_title(figure: go.Figure, title: str) -> go.Figure:
    """Return a figure with a title, on an opaque background: for files and notebooks, where no page surrounds it."""
    titled = go.Figure(figure)
    titled.update_layout(
        height=figure.layout.height + TITLE_HEIGHT,
        paper_bgcolor=SURFACE,
        title={"text": title, "font": {"size": 14, "color": INK}, "x": 0, "xref": "paper", "y": 1, "yref": "container"},
        title_pad={"t": 12},
        title_yanchor="top",
        margin={"l": 14, "r": 14, "t": TITLE_HEIGHT + max(28, figure.layout.margin.t or 0), "b": 12},
    )
    return titled


def stack_figures(figures: Mapping[str, go.Figure]) -> go.Figure:
    """Return one figure with several figures of traces alone below each other, each under its title."""
    if len(figures) == 1:
        ((title, figure),) = figures.items()
        return add_title(figure, title)
    space = TITLE_HEIGHT + LEGEND_HEIGHT + LABEL_HEIGHT
    total = sum(figure.layout.height + space for figure in figures.values())
    stacked = new_figure(total, paper_bgcolor=SURFACE, margin={"l": 14, "r": 14, "t": 0, "b": 0})
    top = 0  # pixels from above
    for i, (title, figure) in enumerate(figures.items()):
        suffix = "" if i == 0 else str(i + 1)
        begin = top + TITLE_HEIGHT + LEGEND_HEIGHT
        end = begin + figure.layout.height
        layout = figure.to_plotly_json()["layout"]
        stacked.update_layout(
            {
                f"xaxis{suffix}": {**layout.get("xaxis", {}), "anchor": f"y{suffix}"},
                f"yaxis{suffix}": {**layout.get("yaxis", {}), "domain": [1 - end / total, 1 - begin / total]},
                f"legend{suffix}": {**LEGEND, "y": 1 - begin / total},
                "bargap": layout.get("bargap"),
            }
        )
        references = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "legend": f"legend{suffix}"}
        showlegend = {} if layout.get("showlegend", True) else {"showlegend": False}
        for trace in figure.data:
            stacked.add_trace(type(trace)({**trace.to_plotly_json(), **references, **showlegend}))
        stacked.add_annotation(
            text=title,
            x=0,
            y=1 - top / total,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            yshift=-10,
            showarrow=False,
            font={"size": 14, "color": INK},
        )
        top = end + LABEL_HEIGHT
    return stacked


def tile_figures(figures: Mapping[str, go.Figure]) -> go.Figure:
    """Return one figure with figures of the same lines beside and below each other, each under its title.

    They share the legend of the first.
    """
    if len(figures) == 1:
        ((title, figure),) = figures.items()
        return add_title(figure, title)
    columns = 2 if len(figures) < MAX_TILES_OF_TWO else 3
    rows = -(-len(figures) // columns)
    height, top = rows * TILE_HEIGHT, 64
    space = {"horizontal_spacing": 0.07, "vertical_spacing": min(1 / rows, 92 / height)}
    tiled = make_subplots(rows, columns, subplot_titles=list(figures), **space)
    tiled.update_layout(template=TEMPLATE, height=height + top, paper_bgcolor=SURFACE, hovermode="x unified")
    tiled.update_layout(margin={"l": 14, "r": 14, "t": top, "b": 12})
    tiled.update_layout(legend={"y": 1 + 30 / height, "traceorder": "normal"})
    tiled.update_annotations(font={"size": 13, "color": INK})
    for i, figure in enumerate(figures.values()):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for trace in figure.data:
            shown = {} if i == 0 else {"showlegend": False}
            tiled.add_trace(type(trace)({**trace.to_plotly_json(), **shown}), **place)
        tiled.update_xaxes(title_text=figure.layout.xaxis.title.text, **place)
        tiled.update_yaxes(title_text=figure.layout.yaxis.title.text, **place)
    return tiled


def add_line(
    figure: go.Figure, x: Times, y: Any, colour: str, width: float = 2.0, *, hover: str = "", **options: Any
) -> None:
    """Add a line to a figure; a single point gets a marker, so that it is visible."""
    options = {"mode": "lines" if len(x) > 1 else "lines+markers", **options}
    line = {"color": colour, "width": width, **options.pop("line", {})}
    options |= {"hovertemplate": hover} if hover else {"hoverinfo": "skip"}
    figure.add_scatter(x=x, y=y, line=line, **options)


def add_points(figure: go.Figure, x: Sequence[Any], y: Any, colour: str, size: int = 7, **options: Any) -> None:
    """Add points without a line and without text on hovering."""
    figure.add_scatter(x=x, y=y, mode="markers", marker={"color": colour, "size": size}, hoverinfo="skip", **options)


def add_band(figure: go.Figure, x: Times, low: FloatArray, high: FloatArray, colour: str, **options: Any) -> None:
    """Fill the area between two curves; `options` are those of the upper one, whose customdata are both."""
    edge = {"x": x, "mode": "lines", "line": {"width": 0}, "legendgroup": options.get("legendgroup")}
    figure.add_scatter(y=low, showlegend=False, hoverinfo="skip", **edge)
    both = np.stack([low, high], axis=1) if "hovertemplate" in options else None
    figure.add_scatter(y=high, fill="tonexty", fillcolor=colour, customdata=both, **{**edge, **options})


def plain_times(times: Sequence[Any]) -> list[Any]:
    """Return times as plotly takes them: ISO text on the wall clock of their zone, or numbers."""
    values = np.asarray(times)
    if values.dtype.kind == "M":
        return [str(t) for t in values.astype("datetime64[s]")]
    if values.dtype.kind in "iuf":
        return list(values.tolist())
    return [t.replace(tzinfo=None).isoformat() if isinstance(t, dt.datetime) else str(t) for t in times]


def escape_name(text: str) -> str:
    """Return a name without the tags and entities that plotly would interpret."""
    return html.escape(str(text), quote=False)


def shorten_name(text: str) -> str:
    """Return a name that fits beside an axis; the hover text has the whole."""
    return escape_name(text if len(text) <= MAX_NAME_LENGTH else text[: MAX_NAME_LENGTH - 1] + "…")
