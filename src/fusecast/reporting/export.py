"""Every figure of a page as a file of its own: what plotly would draw in a browser, drawn by matplotlib."""

from __future__ import annotations

import datetime as dt
import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from fusecast.io.output_dir import results
from fusecast.reporting.explanation_figures import check_installed, literal, save_figures
from fusecast.reporting.figures import INK, LINE, MUTED, forecast_figure
from fusecast.reporting.page import figures_of
from fusecast.reporting.report_data import ReportData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = {"dot": ":", "dash": "--", "solid": "-"}
MOST_FANS = 12


def write_figures(data: ReportData, folder: Path, kind: str = "png") -> list[Path]:
    """Write the figures of a page, and the fans of its first twelve series, as ``<name>.<kind>``.

    Those that an earlier call wrote into the folder go away.

    Raises
    ------
    ConfigError
        When matplotlib is not installed, with the line that installs it.
    ArtifactError
        When `kind` is no kind of figure, or the folder cannot be written into.
    """
    check_installed()
    drawn = {name: still(figure) for name, figure in figures_of(data).items()}
    for number, fan in enumerate(data.fans[:MOST_FANS]):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{fan.series}_{fan.target}")[:60]
        drawn[f"forecast-{number + 1}-{name}"] = still(forecast_figure(fan))
    with results(folder, "report") as scratch:
        paths = save_figures(drawn, scratch, kind)
    return [folder / path.name for path in paths]


def still(drawn: go.Figure) -> Figure:
    """Draw the lines, bands, markers, bars and maps of a plotly figure with matplotlib."""
    from matplotlib.figure import Figure

    layout = drawn.layout
    figure = Figure(figsize=(9, max(2.4, (layout.height or 340) / 95)), layout="constrained")
    two = "yaxis2" in layout
    axes: list[Axes] = figure.subplots(2 if two else 1, 1, squeeze=False, sharex=two).ravel().tolist()
    upper, lower = axes[0], axes[-1]
    edge: Any = None
    for trace in drawn.data:
        axis = upper if trace.yaxis == "y2" else lower
        if trace.type == "scatter":
            edge = _scatter(axis, trace, edge)
        elif trace.type == "bar":
            _bar(axis, trace)
        elif trace.type == "heatmap":
            image = axis.pcolormesh(_values(trace.x), _values(trace.y), np.asarray(trace.z, float), cmap="YlGnBu")
            image.set_clim(0, trace.zmax)
            figure.colorbar(image, ax=axis, format="{x:.1%}", pad=0.02)
    for axis, own in ((lower, layout.yaxis), *(((upper, layout.yaxis2),) if two else ())):
        _dress(axis, layout.xaxis, own, bottom=axis is lower)
    _marks(lower, layout)
    names = [label for axis in axes for label in axis.get_legend_handles_labels()[1]]
    if layout.showlegend is not False and names:
        handles = [handle for axis in axes for handle in axis.get_legend_handles_labels()[0]]
        figure.legend(handles, names, loc="outside upper left", ncols=4, frameon=False, fontsize=8.5)
    return figure


def _scatter(axis: Axes, trace: Any, edge: Any) -> Any:
    """Draw one trace; give its points where the next may fill the space between."""
    x, y = _values(trace.x), np.array([np.nan if v is None else v for v in trace.y], dtype=float)
    name = None if trace.showlegend is False or not trace.name else _text(trace.name)
    colour = _colour(trace.line.color or trace.marker.color or INK)
    if trace.fill == "tonexty" and edge is not None:
        axis.fill_between(x, edge[1], y, color=_colour(trace.fillcolor), linewidth=0, label=name)
    elif trace.mode and "lines" in trace.mode and trace.line.width != 0:
        style = DASHES.get(trace.line.dash or "solid", "-")
        marker = "o" if "markers" in trace.mode else None
        step = "steps-post" if trace.line.shape == "hv" else "default"
        width = (trace.line.width or 2) * 0.8
        axis.plot(x, y, style, color=colour, linewidth=width, marker=marker, markersize=4, drawstyle=step, label=name)
    elif trace.mode == "markers":
        axis.plot(x, y, "o", color=_colour(trace.marker.color or INK), markersize=4.5, label=name)
    return x, y


def _bar(axis: Axes, trace: Any) -> None:
    colour = _colour(trace.marker.color)
    if trace.orientation == "h":
        axis.barh(list(trace.y), list(trace.x), color=colour, height=0.6)
    else:
        width = 0.8 if trace.width is None else list(trace.width)
        axis.bar(list(trace.x), list(trace.y), width=width, color=colour, edgecolor=_colour(INK), linewidth=0.6)


def _dress(axis: Axes, x: Any, y: Any, *, bottom: bool) -> None:
    from matplotlib.ticker import NullLocator

    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(LINE)
    axis.tick_params(colors=MUTED, labelsize=8.5, length=0)
    if y.type == "log":
        axis.set_yscale("log")  # before the ticks, which it would set anew
        if y.tickvals is not None:
            axis.yaxis.set_minor_locator(NullLocator())
    for own, set_label, which in ((x, axis.set_xlabel, axis.xaxis), (y, axis.set_ylabel, axis.yaxis)):
        if own.title.text and (bottom or own is y):
            set_label(_text(own.title.text), color=MUTED, fontsize=9)
        if own.tickformat and "%" in own.tickformat:
            which.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        if own.tickvals is not None:
            texts = [str(text) for text in (own.ticktext or own.tickvals)]
            which.set_ticks(list(own.tickvals), labels=[_text(text) for text in texts])
    if y.showgrid is not False:
        axis.grid(visible=True, axis="y", color=LINE, linewidth=0.5)
    axis.set_axisbelow(True)
    if x.range:
        axis.set_xlim(*x.range)
    if y.range:
        axis.set_ylim(*y.range)
    if y.rangemode == "tozero":
        axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    if x.rangemode == "tozero":
        axis.set_xlim(left=0)
    if y.autorange == "reversed":
        axis.invert_yaxis()


def _marks(axis: Axes, layout: Any) -> None:
    for shape in layout.shapes:
        style = DASHES.get(shape.line.dash or "solid", "-")
        if shape.yref == "paper":
            axis.axvline(_values([shape.x0])[0], color=LINE, linewidth=0.9, linestyle=style)
        else:
            axis.plot(_values([shape.x0, shape.x1]), [shape.y0, shape.y1], style, color=INK, linewidth=0.9)
    for note in layout.annotations:
        place = "axes fraction" if note.yref == "paper" else "data"
        at: Any = (_values([note.x])[0], note.y)
        transform = ("data", place)
        axis.annotate(
            _text(note.text), at, xycoords=transform, xytext=(4, 4 if place == "data" else -9),
            textcoords="offset points", fontsize=8, color=MUTED,
        )  # fmt: skip


def _text(escaped: str) -> str:
    return literal(html.unescape(escaped))


def _values(given: Any) -> Any:
    """Numbers stay numbers; ISO text becomes times."""
    values = list(given)
    if values and isinstance(values[0], str):
        return [dt.datetime.fromisoformat(value) for value in values]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _colour(text: str) -> Any:
    found = re.fullmatch(r"rgba\((\d+),(\d+),(\d+),([\d.]+)\)", text.replace(" ", ""))
    if found is None:
        return text
    red, green, blue = (int(found[place]) / 255 for place in (1, 2, 3))
    return red, green, blue, float(found[4])
