"""The one style of all figures: colours for light and dark, type, axes."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

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
