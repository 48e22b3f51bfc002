"""A figure of plotly drawn with matplotlib: the traces, axes, lines and texts that the figures of this package have."""

from __future__ import annotations

import html
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from fusecast.errors import ConfigError
from fusecast.reporting.figure_style import ACCENT, INK, MUTED, SURFACE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS_AN_INCH = 96
WIDTH, HEIGHT = 900, 450  # pixels: figures of plotly are as wide as their container
LEFT, RIGHT, TOP, BOTTOM = 84, 20, 60, 56  # pixels around all axes
LETTER = 6  # pixels of a label
TRACES = ("scatter", "bar", "heatmap")
DASHES = {"dot": ":", "dash": "--"}


def to_matplotlib(figure: go.Figure) -> Figure:
    """Return a figure of matplotlib with the same data; ConfigError for a kind of trace that has no counterpart."""
    from matplotlib.figure import Figure

    layout, height = figure.layout, figure.layout.height or HEIGHT
    drawn = Figure(figsize=(WIDTH / PIXELS_AN_INCH, height / PIXELS_AN_INCH), dpi=PIXELS_AN_INCH, facecolor=SURFACE)
    axes: dict[tuple[str, str], Axes] = {}
    traces: dict[tuple[str, str], list[Any]] = {}
    for trace in figure.data:
        if trace.type not in TRACES:
            raise ConfigError.not_in_matplotlib(trace.type)
        traces.setdefault((trace.xaxis or "x", trace.yaxis or "y"), []).append(trace)
    legends: dict[str, tuple[list[Axes], dict[str, Any]]] = {}
    for key, here in traces.items():
        shared = next((each for (x, _), each in axes.items() if x == key[0]), None)
        axes[key] = _add_axes(drawn, layout, key, shared)
        for number, trace in enumerate(here):
            handle = _draw_trace(axes[key], trace, number, here)
            if trace.name and trace.showlegend is not False and layout.showlegend is not False:
                above, handles = legends.setdefault(trace.legend or "legend", ([], {}))
                above.append(axes[key])
                handles.setdefault(_plain(trace.name), handle)
        _shape_axis(axes[key].xaxis, _find_axis(layout, key[0]))
        _shape_axis(axes[key].yaxis, _find_axis(layout, key[1]))
    _draw_shapes(layout, axes)
    for above, handles in legends.values():
        _add_legend(layout, above, handles)
    if layout.title.text:
        drawn.text(0.015, 1 - 16 / height, _plain(layout.title.text), va="center", fontsize=10.5, color=INK)
    for note in layout.annotations:
        _draw_note(drawn, note, axes, layout)
    return drawn


def _add_axes(drawn: Figure, layout: Any, key: tuple[str, str], shared: Axes | None) -> Axes:
    (x0, x1), (y0, y1) = (_find_axis(layout, name).domain or (0, 1) for name in key)
    left, bottom = _place(layout, x0, y0)
    right, top = _place(layout, x1, y1)
    axes = drawn.add_axes((left, bottom, right - left, top - bottom), sharex=shared, facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    return axes


def _place(layout: Any, x: float, y: float) -> tuple[float, float]:
    """Return as parts of the figure what is given as parts of the area of its axes."""
    height = layout.height or HEIGHT
    axes = [_find_axis(layout, name) for name in layout if name.startswith("yaxis")]
    labels = [str(text) for axis in axes for text in (() if axis.ticktext is None else axis.ticktext)]
    left = max([LEFT, *(LETTER * len(text) + 16 for text in labels)])
    top = TOP if layout.margin.t is None else layout.margin.t
    bottom = BOTTOM if top else 0  # without a margin, the axes of a figure leave room for what is around them
    return (left + x * (WIDTH - left - RIGHT)) / WIDTH, (bottom + y * (height - top - bottom)) / height


def _add_legend(layout: Any, above: list[Axes], handles: dict[str, Any]) -> None:
    """Write a legend above the uppermost of the axes that it is of, and above their titles where it is of several."""
    axes = max(above, key=lambda each: each.get_position().y1)
    tiled = layout.margin.t and layout.legend.y
    lift = 22 / (axes.get_position().height * layout.height) if tiled else 0.0
    options: dict[str, Any] = {"ncols": 6, "fontsize": 8, "frameon": False, "labelcolor": MUTED, "borderpad": 0.2}
    axes.legend(list(handles.values()), list(handles), loc="lower left", bbox_to_anchor=(0, 1 + lift), **options)


def _find_axis(layout: Any, name: str) -> Any:
    return layout[name if "axis" in name else f"{name[0]}axis{name[1:]}"]


def _draw_trace(axes: Axes, trace: Any, number: int, here: list[Any]) -> Any:
    """Draw one of the traces `here`, and return what stands for it in the legend."""
    match trace.type:
        case "scatter" if trace.fill == "tonexty":
            lower = here[number - 1]
            style = {"color": _colour(trace.fillcolor), "linewidth": 0}
            return axes.fill_between(_values(trace.x), _values(lower.y), _values(trace.y), **style)
        case "scatter" if trace.fill is None:
            return _draw_scatter(axes, trace)
        case "bar":
            return _draw_bars(axes, trace, [each for each in here if each.type == "bar"])
        case "heatmap":
            return _draw_heatmap(axes, trace)
    raise ConfigError.not_in_matplotlib(trace.type)


def _draw_scatter(axes: Axes, trace: Any) -> Any:
    mode, x, y = trace.mode or "lines", _values(trace.x), _values(trace.y)
    colour = trace.line.color or trace.marker.color or ACCENT
    style: dict[str, Any] = {"color": _colour(colour), "linewidth": 0.75 * (trace.line.width or 0)}
    style["linestyle"] = DASHES.get(trace.line.dash, "-") if "lines" in mode else "none"
    if "markers" in mode:
        style |= {"marker": "o", "markersize": 0.75 * (trace.marker.size or 6)}
    if trace.line.shape == "hv":
        style["drawstyle"] = "steps-post"
    (line,) = axes.plot(x, y, alpha=trace.opacity, **style)
    if "text" in mode:
        for text, *point in zip(trace.text, x, y, strict=True):
            place: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
            axes.annotate(_plain(text), (point[0], point[1]), fontsize=8, color=MUTED, **place)
    return line


def _draw_bars(axes: Axes, trace: Any, group: list[Any]) -> Any:
    """Draw bars; those of several traces stand beside each other at each of their names."""
    x, y, style = _values(trace.x), _values(trace.y), {"color": _colour(trace.marker.color)}
    if trace.orientation == "h":
        return axes.barh(y, x, height=0.6, **style)
    if x.dtype.kind != "U":
        return axes.bar(x, y, width=0.8 if trace.width is None else _values(trace.width), **style)
    names = list(dict.fromkeys(name for each in group for name in _values(each.x).tolist()))
    width = 0.75 / len(group)
    shift = (group.index(trace) - (len(group) - 1) / 2) * width
    axes.set_xticks(range(len(names)), names)
    return axes.bar([names.index(name) + shift for name in x.tolist()], y, width=width, **style)


def _draw_heatmap(axes: Axes, trace: Any) -> Any:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import PercentFormatter

    colours = LinearSegmentedColormap.from_list("", [(at, _colour(colour)) for at, colour in trace.colorscale])
    limits = {"cmap": colours, "vmin": trace.zmin, "vmax": trace.zmax}
    mesh = axes.pcolormesh(_values(trace.x), _values(trace.y), _values(trace.z), shading="nearest", **limits)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.015, aspect=40, format=PercentFormatter(1, decimals=1))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, labelcolor=MUTED, color=MUTED)
    return mesh


def _shape_axis(axis: Any, of: Any) -> None:
    """Set an axis of matplotlib to the title, limits, ticks and number format of one of plotly."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter

    horizontal, axes = axis.axis_name == "x", axis.axes
    set_limits, set_scale = (axes.set_xlim, axes.set_xscale) if horizontal else (axes.set_ylim, axes.set_yscale)
    axis.set_tick_params(labelsize=8, labelcolor=MUTED, color=MUTED)
    if of.title.text:
        axis.set_label_text(_plain(of.title.text), fontsize=8.5, color=MUTED)
    if of.type == "log":
        set_scale("log")
    if isinstance(axis.get_major_locator(), AutoDateLocator):
        locator = AutoDateLocator(minticks=2, maxticks=max(5, int(9 * axes.get_position().width)))
        axis.set_major_locator(locator)
        axis.set_major_formatter(ConciseDateFormatter(locator))
    if of.tickvals is not None:
        labels = of.ticktext if of.ticktext is not None else of.tickvals
        axis.set_ticks(_values(of.tickvals).tolist(), [_plain(str(label)) for label in labels])
    elif of.tickformat and "%" in of.tickformat:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    if of.range is not None:
        set_limits(*of.range)
    elif of.autorange == "reversed":
        axis.set_inverted(True)
    elif of.rangemode == "tozero":
        set_limits(min(0, (axes.get_xlim() if horizontal else axes.get_ylim())[0]))
    if not horizontal and of.showgrid is not False:
        axes.grid(axis="y", color=MUTED, alpha=0.15, linewidth=0.7)
        axes.set_axisbelow(True)


def _draw_shapes(layout: Any, axes: dict[tuple[str, str], Axes]) -> None:
    """Draw the vertical and horizontal lines of a figure."""
    for shape in layout.shapes:
        names = [(shape.xref or "x").split()[0], (shape.yref or "y").split()[0]]
        each = next((one for key, one in axes.items() if list(key) == names), next(iter(axes.values())))
        style = {"color": shape.line.color, "linewidth": 0.75 * (shape.line.width or 1), "zorder": 0.5}
        style["linestyle"] = DASHES.get(shape.line.dash, "-")
        if shape.x0 == shape.x1:
            each.axvline(_values([shape.x0])[0], **style)
        elif shape.y0 == shape.y1:
            each.axhline(shape.y0, **style)


def _draw_note(drawn: Figure, note: Any, axes: dict[tuple[str, str], Axes], layout: Any) -> None:
    """Write an annotation: at a point of the axes, or at a place of the figure."""
    style: dict[str, Any] = {"fontsize": 8.5, "color": note.font.color or INK, "annotation_clip": False}
    across = {"left": "left", "right": "right"}.get(note.xanchor, "center")
    down = {"top": "top", "bottom": "bottom"}.get(note.yanchor, "bottom")
    if note.xref == "paper" and note.yref == "paper":
        x, y = _place(layout, note.x, note.y)
        options = {"ha": across, "va": down, "fontsize": 10, "color": style["color"]}
        drawn.text(x, y + (note.yshift or 0) / (layout.height or HEIGHT), _plain(note.text), **options)
        return
    each = axes[(note.xref or "x").split()[0], next(key[1] for key in axes)]
    at = "axes fraction" if note.yref == "paper" else "data"
    place: dict[str, Any] = {
        "xycoords": ("data", at),
        "xytext": (note.xshift or 0, -(note.ay or 0) / 2),
        "ha": across,
        "va": down,
    }
    point = (_values([note.x])[0], note.y)
    each.annotate(_plain(note.text), point, textcoords="offset points", **place, **style)


def _values(values: Any) -> Any:
    """Return values of plotly as an array: numbers, times, or names."""
    if isinstance(values, dict):  # an encoded array
        numbers = np.frombuffer(b64decode(values["bdata"]), dtype=values["dtype"])
        return numbers.reshape([int(size) for size in str(values.get("shape", numbers.size)).split(",")])
    array = np.asarray(values)
    if array.dtype.kind == "O":  # with None where a line is interrupted, or strings
        array = array.astype(str) if all(isinstance(each, str) for each in array.flat) else array.astype(float)
    if array.dtype.kind != "U":
        return array
    if array.size and all(re.match(r"\d{4}-\d\d-\d\d([T ]|$)", text) for text in array.tolist()):
        return array.astype("datetime64[us]")
    return np.array([_plain(text) for text in array.tolist()], dtype=str)


def _colour(text: str) -> Any:
    """Return a colour of plotly as matplotlib reads it."""
    if text.startswith("rgba"):
        *parts, alpha = (float(part) for part in re.findall(r"[\d.]+", text))
        return (*(part / 255 for part in parts), alpha)
    return text


def _plain(text: str) -> str:
    """Return the text that plotly shows, without what matplotlib would read as a formula."""
    return html.unescape(text).replace("$", r"\$")
