"""Sections about what the network looks at: variables, attention, regimes."""

from __future__ import annotations

from html import escape

import polars as pl

from fusecast.reporting import figures, text
from fusecast.reporting.html import Canvas, Section, section

MOST_VARIABLES = 15
MOST_EVENTS = 8
GROUPS = {
    "past": ("Past", "everything known up to the cutoff"),
    "future": ("Future", "known ahead of time"),
    "static": ("Static", "one value a series"),
}


def importances(canvas: Canvas) -> Section | None:
    """Bars for each group of variables, their course over time, and the check by shuffling."""
    data, panels = canvas.data, ""
    for group, (name, meaning) in GROUPS.items():
        rows = [row for row in data.importances if row.group == group]
        if not rows:
            continue
        rest = f", the first {MOST_VARIABLES} of {len(rows)}" if len(rows) > MOST_VARIABLES else ""
        drawn = figures.importance_figure(rows[:MOST_VARIABLES])
        panels += canvas.panel(
            f"importance-{group}", drawn, f"Importance of the {group} variables", name, meaning + rest, "panel"
        )
    if not panels:
        return None
    about = f"<p>From {escape(data.explained)}.</p>" if data.explained else ""
    return section(
        "variables",
        "Variables",
        "<p>How much of the network's selection each variable gets. Bars are means, dots medians, and whiskers "
        "hold 8 of 10 cases. A large share says that the network uses a variable, not that it causes anything."
        f"</p>{about}",
        f'<div class="panels">{panels}</div>{_over_time(canvas)}{_check(canvas)}',
    )


def attention(canvas: Canvas) -> Section | None:
    """Attention over lags, and step ahead by lag."""
    data = canvas.data
    if data.attention is None:
        return None
    body = canvas.draw(
        "attention-lags", figures.attention_figure(data.attention, data.frequency), "Attention by position in time"
    )
    if len(data.attention_by_step) > 1:
        drawn = figures.attention_map(data.attention_by_step, data.frequency)
        label = "Attention of each step ahead to each position"
        about = "the stronger the colour, the more attention"
        body += canvas.panel("attention-map", drawn, label, "By step ahead", about, "below")
    found = f"<p>The network {escape(data.lags)}.</p>" if data.lags else ""
    return section(
        "attention",
        "Attention",
        "<p>Where in time the network looks, averaged over the steps it forecasts. "
        f"{text.seasons_back(data.frequency, data.lookback)}</p>{found}",
        body,
    )


def regimes(canvas: Canvas) -> Section | None:
    """When the network looks elsewhere than usual."""
    timeline = canvas.data.timeline
    if timeline is None or not len(timeline.times):
        return None
    events = "".join(
        f"<tr><th scope='row'>{escape(begin)}</th><td>{escape(series)}</td><td>{distance:.2f}</td></tr>"
        for begin, series, distance in timeline.events[:MOST_EVENTS]
    )
    spans = "1 span is" if len(timeline.events) == 1 else f"{len(timeline.events):,} spans are"
    said = (
        f"<p>{spans} flagged, in {timeline.series_flagged:,} of the {timeline.looked_at:,} series looked at.</p>"
        if timeline.events
        else "<p>No forecast is flagged: no sign of another regime.</p>"
    )
    table = (
        '<div class="scroll below"><table class="metrics"><thead><tr><th scope="col">When</th>'
        '<th scope="col">Series</th><th scope="col">Distance</th></tr></thead>'
        f"<tbody>{events}</tbody></table></div>"
        if events
        else ""
    )
    drawn = figures.timeline_figure(timeline)
    caption = canvas.panel("timeline", drawn, "Distance of the attention over time", timeline.series)
    return section(
        "regimes",
        "Regimes and events",
        "<p>How far the attention of each forecast lies from the average of its series, 0 to 1 (section 7.3 of the "
        "paper). Where it strays far, the series does something else than it usually does, and the forecast rests on "
        f"less experience.</p>{said}",
        caption + table,
    )


def _over_time(canvas: Canvas) -> str:
    frame = canvas.data.over_time
    if frame is None or not frame.height:
        return ""
    panels = ""
    for group in ("past", "future"):
        own = frame.filter(pl.col("group") == group)
        if own["time"].n_unique() > 2 and own["variable"].n_unique() > 1:
            drawn = figures.over_time_figure(own)
            label = f"Importance of the {group} variables over time"
            about = "variables by date" if group == "past" else "known ahead of time, by date"
            panels += canvas.panel(f"over-time-{group}", drawn, label, GROUPS[group][0], about, "below")
    return panels


def _check(canvas: Canvas) -> str:
    agreement = canvas.data.agreement
    if agreement is None:
        return ""
    drawn = figures.agreement_figure(agreement.table)
    panel = canvas.panel(
        "shuffled", drawn, "Rise of the loss when a variable is shuffled", "The check", "each variable shuffled"
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in agreement.notes[:8])
    return f'<div class="pair below">{panel}<ul class="notes">{notes}</ul></div>'
