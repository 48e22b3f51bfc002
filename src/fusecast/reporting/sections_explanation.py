"""Report sections on what the network selects and attends to: variables, attention, regimes."""

from __future__ import annotations

from html import escape

import polars as pl

from fusecast.errors.base import format_count
from fusecast.reporting.figures_explanation import (
    MAX_BARS,
    attention_figure,
    attention_map_figure,
    importance_figure,
    importance_over_time_figure,
    permutation_figure,
    timeline_figure,
)
from fusecast.reporting.html import PageFigures, Section, scrolling_table, section
from fusecast.reporting.text import describe_season_peaks

MAX_EVENTS = 8
MAX_NOTES = 8
GROUPS = {
    "past": ("Past", "everything known up to the cutoff"),
    "future": ("Future", "known ahead of time"),
    "static": ("Static", "one value a series"),
}


def variables_section(page: PageFigures) -> Section | None:
    """Show the importances of each group of variables, their course over time, and the check by shuffling."""
    data, panels = page.data, ""
    for group, (name, meaning) in GROUPS.items():
        rows = [row for row in data.importances if row.group == group]
        if not rows:
            continue
        rest = f", the first {MAX_BARS} of {len(rows)}" if len(rows) > MAX_BARS else ""
        label = f"Importance of the {group} variables"
        panels += page.add_panel(
            f"importance-{group}", importance_figure(rows[:MAX_BARS]), label, name, meaning + rest, "panel"
        )
    if not panels:
        return None
    about = f"<p>From {escape(data.explained_windows)}.</p>" if data.explained_windows else ""
    return section(
        "variables",
        "Variables",
        "<p>The share of each variable in the network's variable selection. Bars are means, dots medians, and whiskers "
        "hold 8 of 10 cases. A large share means that the network uses a variable, not that the variable is a cause."
        f"</p>{about}",
        f'<div class="panels">{panels}</div>{_importance_over_time(page)}{_permutation(page)}',
    )


def _importance_over_time(page: PageFigures) -> str:
    frame = page.data.importance_over_time
    if frame is None or not frame.height:
        return ""
    panels = ""
    for group in ("past", "future"):
        rows = frame.filter(pl.col("group") == group)
        if rows["time"].n_unique() > 2 and rows["variable"].n_unique() > 1:
            label = f"Importance of the {group} variables over time"
            about = "variables by date" if group == "past" else "known ahead of time, by date"
            figure = importance_over_time_figure(rows)
            panels += page.add_panel(f"over-time-{group}", figure, label, GROUPS[group][0], about, "below")
    return panels


def _permutation(page: PageFigures) -> str:
    agreement = page.data.agreement
    if agreement is None:
        return ""
    label = "Increase of the loss when a variable is shuffled"
    figure = permutation_figure(agreement.table)
    panel = page.add_panel("shuffled", figure, label, "Check", "each variable shuffled")
    notes = "".join(f"<li>{escape(note)}</li>" for note in agreement.notes[:MAX_NOTES])
    return f'<div class="pair below">{panel}<ul class="notes">{notes}</ul></div>'


def attention_section(page: PageFigures) -> Section | None:
    """Show the attention by lag, and of each step ahead by lag."""
    data = page.data
    if data.attention is None:
        return None
    figure = attention_figure(data.attention, data.frequency)
    body = page.add("attention-lags", figure, "Attention by position in time")
    if len(data.attention_by_step) > 1:
        figure = attention_map_figure(data.attention_by_step, data.frequency)
        label, about = "Attention of each step ahead to each position", "the stronger the colour, the more attention"
        body += page.add_panel("attention-map", figure, label, "By step ahead", about, "below")
    patterns = f"<p>The network {escape(data.patterns)}.</p>" if data.patterns else ""
    return section(
        "attention",
        "Attention",
        "<p>The time steps to which the network attends, averaged over the steps forecast. "
        f"{describe_season_peaks(data.frequency, data.lookback)}</p>{patterns}",
        body,
    )


def regimes_section(page: PageFigures) -> Section | None:
    """Show when the attention of the network differs from the usual."""
    timeline = page.data.timeline
    if timeline is None or not len(timeline.times):
        return None
    rows = "".join(
        f'<tr><th scope="row">{escape(when)}</th><td>{escape(series)}</td><td>{distance:.2f}</td></tr>'
        for when, series, distance in timeline.events[:MAX_EVENTS]
    )
    found, table = "No forecast is flagged: there is no sign of another regime.", ""
    if rows:
        spans = format_count(len(timeline.events), "span")
        verb = "is" if len(timeline.events) == 1 else "are"
        flagged, explained = f"{timeline.series_flagged:,}", f"{timeline.num_series:,}"
        found = f"{spans} {verb} flagged, in {flagged} of the {explained} series explained."
        columns = [(title, "") for title in ("When", "Series", "Distance")]
        table = f'<div class="below">{scrolling_table(columns, rows)}</div>'
    label = "Distance of the attention over time"
    return section(
        "regimes",
        "Regimes and events",
        "<p>The distance of the attention of each forecast from the average of its series, 0 to 1 (section 7.3 of the "
        "paper). Where it is large, the series behaves differently from its past, and the forecast is less "
        f"reliable.</p><p>{found}</p>",
        page.add_panel("timeline", timeline_figure(timeline), label, timeline.series) + table,
    )
