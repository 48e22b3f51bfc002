"""Canvas: collects the figures of a page while its sections are written."""

from __future__ import annotations

import json
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go

from fusecast.reporting.report_data import ReportData


class Section(NamedTuple):
    """A part of the page: the name of its place, its heading, its HTML."""

    key: str
    name: str
    html: str


class Canvas:
    """What a page shows, and the figures placed on it so far."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        self.figures: dict[str, go.Figure] = {}

    def draw(self, key: str, drawn: go.Figure, label: str) -> str:
        """Keep a figure and give the HTML of its place."""
        self.figures[key] = drawn
        return place(key, label)

    def panel(self, key: str, drawn: go.Figure, label: str, caption: str, about: str = "", kind: str = "") -> str:
        """Give a figure with a caption."""
        css = f' class="{kind}"' if kind else ""
        words = f"<b>{escape(caption)}</b> {escape(about)}"
        return f"<figure{css}><figcaption>{words}</figcaption>{self.draw(key, drawn, label)}</figure>"

    def json(self) -> str:
        """Give the figures by the id of their place."""
        return "{" + ",".join(f"{json.dumps(key)}:{drawn.to_json()}" for key, drawn in self.figures.items()) + "}"


def section(key: str, name: str, note: str, body: str) -> Section:
    """Lay a heading with a note beside a body."""
    html = f'<section id="{key}"><header><h2>{name}</h2>{note}</header><div class="body">{body}</div></section>'
    return Section(key, name, html)


def place(key: str, label: str) -> str:
    """Give the HTML in which a figure is drawn."""
    return f'<div class="figure" id="{key}" role="img" aria-label="{escape(label)}"></div>'
