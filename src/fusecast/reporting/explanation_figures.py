"""Figures of an explanation as files, drawn with matplotlib (the `plot` extra)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fusecast.data.duration_text import format_lag, format_step
from fusecast.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fusecast.explain.explanation import Explanation

INK, MUTED, ACCENT, BAR, WARM = "#22262B", "#6A6F76", "#0E6F85", "#8DBAC4", "#C4591B"
MOST_VARIABLES = 15
MOST_LINES = 6
LEAST_POINTS = 5
ENDINGS = (".png", ".svg", ".pdf")


def figures(explanation: Explanation) -> dict[str, Figure]:
    """Draw everything that an explanation holds; figures by name, in the order of :data:`DRAWN`.

    Raises
    ------
    ConfigError
        When matplotlib is not installed, with the line that installs it.
    """
    check_installed()
    found = {name: draw(explanation) for name, draw in DRAWN.items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def save_figures(drawn: Mapping[str, Figure], folder: Path, ending: str = "png") -> list[Path]:
    """Write figures as ``<name>.<ending>``; give the paths.

    Raises
    ------
    ArtifactError
        When the ending is no kind of figure.
    """
    check_kind(ending)
    paths = [folder / f"{name}.{ending}" for name in drawn]
    for figure, path in zip(drawn.values(), paths, strict=True):
        figure.savefig(path, dpi=150, bbox_inches="tight")
    return paths


def check_kind(ending: str) -> None:
    """Raise an ArtifactError where an ending, without its point, is no kind of figure."""
    if f".{ending}" not in ENDINGS:
        raise ArtifactError.unknown_ending(f"figure.{ending}", ENDINGS)


def literal(text: str) -> str:
    """Make a name what it is where matplotlib would read what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def check_installed() -> None:
    """Refuse, in words, to draw without matplotlib."""
    if find_spec("matplotlib") is None:
        raise ConfigError.extra_missing("drawing figures", "matplotlib", "plot")


def draw_importances(explanation: Explanation) -> Figure | None:
    """Bars of the mean weights, whiskers from the 10th to the 90th percentile, one panel a group."""
    groups = [
        (group, [row for row in explanation.importances if row.group == group][:MOST_VARIABLES])
        for group in ("past", "future", "static")
    ]
    groups = [(group, rows) for group, rows in groups if rows]
    if not groups:
        return None
    heights = [0.32 * len(rows) + 0.9 for _, rows in groups]
    figure, axes = _figure(8, sum(heights) + 0.4, rows=len(groups), height_ratios=heights)
    for axis, (group, rows) in zip(axes, groups, strict=True):
        place = np.arange(len(rows))[::-1]
        mean = np.array([row.mean for row in rows])
        spread = [[max(0.0, r.mean - r.p10) for r in rows], [max(0.0, r.p90 - r.mean) for r in rows]]
        axis.barh(place, mean, color=BAR, height=0.6)
        axis.errorbar(mean, place, xerr=spread, fmt="none", ecolor=ACCENT, elinewidth=1.3)
        axis.set_yticks(place, [literal(row.variable) for row in rows])
        axis.set_title(f"{group} variables: share of the selection, 10th to 90th percentile", loc="left")
        axis.xaxis.set_major_formatter("{x:.0%}")
        axis.set_xlim(left=0)
    return figure


def draw_over_time(explanation: Explanation) -> Figure | None:
    """Mean weight of the foremost variables by date."""
    return _lines(explanation.importance_over_time, "time", "date of the step")


def draw_by_step(explanation: Explanation) -> Figure | None:
    """Mean weight of the foremost variables by lag (past) and by step ahead (future)."""
    step = format_step(explanation.panel.schema.frequency)
    return _lines(explanation.importance_by_step, "position", f"position, counted in steps of one {step}")


def draw_attention(explanation: Explanation) -> Figure | None:
    """Mean attention by position, with the 10th to the 90th percentile."""
    profile, frequency = explanation.attention, explanation.panel.schema.frequency
    figure, (axis,) = _figure(8, 3.4)
    axis.fill_between(profile.position, profile.p10, profile.p90, color=ACCENT, alpha=0.18, linewidth=0)
    axis.plot(profile.position, profile.mean, color=ACCENT, linewidth=1.6)
    for position, height in profile.top_lags(3):
        text = format_lag(position, frequency)
        axis.annotate(text, (position, height), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
    axis.axvline(-0.5, color=MUTED, linewidth=0.8, linestyle=":")
    axis.set_xlabel("steps before and after the first step forecast")
    axis.yaxis.set_major_formatter("{x:.1%}")
    axis.set_ylim(bottom=0)
    axis.set_title("attention by position: mean, and 8 of 10 forecasts", loc="left")
    return figure


def draw_attention_by_step(explanation: Explanation) -> Figure | None:
    """Heat map of the mean attention: step ahead by position."""
    profiles = explanation.attention_by_step
    values = np.stack([profile.mean for profile in profiles])
    position = profiles[0].position
    figure, (axis,) = _figure(8, 3.8)
    extent = (position[0] - 0.5, position[-1] + 0.5, len(profiles) + 0.5, 0.5)
    top = float(np.nanpercentile(values, 99.5)) or 1.0
    image = axis.imshow(values, aspect="auto", extent=extent, cmap="YlGnBu", vmin=0, vmax=top, interpolation="nearest")
    bar = figure.colorbar(image, ax=axis, format="{x:.1%}", pad=0.02)
    bar.outline.set_visible(False)
    axis.set_xlabel("steps before and after the first step forecast")
    axis.set_ylabel("step ahead")
    axis.set_title("attention of each step ahead: what it looks at", loc="left")
    return figure


def draw_regimes(explanation: Explanation) -> Figure | None:
    """Distance of each forecast's attention from the average, and what is flagged, for the series that strays farthest.

    Where that has next to no forecasts, those of all such series are drawn.
    """
    found = explanation.regimes
    if not len(found.series):
        return None
    excess = np.where(np.isfinite(found.distance), found.distance - found.threshold, -np.inf)
    chosen = int(found.series[int(excess.argmax())])
    counts = np.bincount(found.series)
    figure, (axis,) = _figure(8, 3.0)
    if counts[chosen] >= LEAST_POINTS:
        frame = found.to_frame(explanation.panel).filter(pl.Series(found.series == chosen))
        name = f"series {literal(frame['series'][0])}"
        axis.plot(frame["time"].to_list(), frame["distance"].to_numpy(), color=ACCENT, linewidth=1.2)
    else:  # no line can be drawn through so few; such series share one average
        few = counts[found.series] < LEAST_POINTS
        frame = found.to_frame(explanation.panel).filter(pl.Series(few)).sort("time")
        name = f"{frame['series'].n_unique():,} series"
        axis.scatter(frame["time"].to_list(), frame["distance"].to_numpy(), color=ACCENT, s=6)
    axis.plot(frame["time"].to_list(), frame["threshold"].to_numpy(), color=MUTED, linewidth=0.9, linestyle="--")
    flagged = frame.filter("flagged")
    axis.scatter(flagged["time"].to_list(), flagged["distance"].to_numpy(), color=WARM, s=12, zorder=3)
    axis.set_title(f"{name}: distance of the attention from its average; flagged forecasts in orange", loc="left")
    axis.set_ylim(bottom=0)
    _turn_dates(axis)
    return figure


def draw_agreement(explanation: Explanation) -> Figure | None:
    """Selection weight against what shuffling costs, variable by variable."""
    from matplotlib.ticker import PercentFormatter

    if explanation.agreement is None:
        return None
    table = explanation.agreement.table.filter(~pl.col("constant"))
    groups = table["group"].unique(maintain_order=True).to_list()
    figure, axes = _figure(4.2 * max(1, len(groups)), 3.8, columns=max(1, len(groups)))
    for axis, group in zip(axes, groups, strict=False):
        own = table.filter(pl.col("group") == group)
        axis.scatter(own["weight"].to_numpy(), own["increase"].to_numpy(), color=ACCENT, s=18)
        for row in own.iter_rows(named=True):
            point = (row["weight"], row["increase"])
            axis.annotate(literal(row["variable"]), point, xytext=(4, 3), textcoords="offset points", fontsize=7.5)
        correlation = explanation.agreement.correlation.get(group)
        axis.set_title(group if correlation is None else f"{group}: rank correlation {correlation:.2f}", loc="left")
        axis.set_xlabel("share of the selection")
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0].set_ylabel("rise of the loss when shuffled")
    return figure


DRAWN = {
    "importances": draw_importances,
    "importance_over_time": draw_over_time,
    "importance_by_step": draw_by_step,
    "attention": draw_attention,
    "attention_by_step": draw_attention_by_step,
    "regimes": draw_regimes,
    "agreement": draw_agreement,
}


def _lines(frame: pl.DataFrame, x: str, label: str) -> Figure | None:
    if not frame.height:
        return None
    groups = frame["group"].unique(maintain_order=True).to_list()
    figure, axes = _figure(8, 2.9 * len(groups), rows=len(groups))
    for axis, group in zip(axes, groups, strict=True):
        own = frame.filter(pl.col("group") == group)
        means = own.group_by("variable", maintain_order=True).agg(pl.col("mean").mean()).sort("mean", descending=True)
        for name in means["variable"].head(MOST_LINES):
            line = own.filter(pl.col("variable") == name)
            axis.plot(line[x].to_list(), line["mean"].to_numpy(), linewidth=1.4, label=literal(name))
        axis.set_title(f"{group} variables: share of the selection", loc="left")
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter("{x:.0%}")
        axis.legend(fontsize=8, frameon=False, ncols=3)
        if x == "time":
            _turn_dates(axis)
    axes[-1].set_xlabel(label)
    return figure


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid or None).ravel().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=MUTED, labelsize=8.5)
        axis.title.set_size(9.5)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
    return figure, axes


def _turn_dates(axis: Axes) -> None:
    for label in axis.get_xticklabels():
        label.set_rotation(20)
        label.set_horizontalalignment("right")
