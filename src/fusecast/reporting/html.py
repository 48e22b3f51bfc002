"""The HTML of sections and figures, and the figures that a page holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go

from fusecast.reporting.report_data import ReportData


class Section(NamedTuple):
    """A section of the page: its id, its heading, its HTML."""

    key: str
    name: str
    html: str


class PageFigure(NamedTuple):
    """A figure and its label, which describes it to those who cannot see it."""

    figure: go.Figure
    label: str


class PageFigures:
    """The data of a page, and the figures that its sections have added so far."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        self.figures: dict[str, PageFigure] = {}

    def __repr__(self) -> str:
        return f"PageFigures({', '.join(self.figures)})"

    def add(self, key: str, figure: go.Figure, label: str) -> str:
        """Add a figure and return the HTML of its container."""
        self.figures[key] = PageFigure(figure, label)
        return figure_container(key, label)

    def add_panel(self, key: str, figure: go.Figure, label: str, caption: str, about: str = "", kind: str = "") -> str:
        """Add a figure and return the HTML of its container with a caption."""
        css = f' class="{kind}"' if kind else ""
        heading = f"<b>{escape(caption)}</b> {escape(about)}"
        return f"<figure{css}><figcaption>{heading}</figcaption>{self.add(key, figure, label)}</figure>"

    def json(self) -> str:
        """Return the figures as JSON, by the id of their container."""
        return "{" + ",".join(f"{json.dumps(key)}:{one.figure.to_json()}" for key, one in self.figures.items()) + "}"


def section(key: str, name: str, note: str, body: str) -> Section:
    """Return a section: a heading with a note beside a body."""
    html = f'<section id="{key}"><header><h2>{name}</h2>{note}</header><div class="body">{body}</div></section>'
    return Section(key, name, html)


def figure_container(key: str, label: str) -> str:
    """Return the HTML element in which a figure is drawn."""
    return f'<div class="figure" id="{key}" role="img" aria-label="{escape(label)}"></div>'


def scrolling_table(columns: Sequence[tuple[str, str]], rows: str, key: str = "") -> str:
    """Return a table that scrolls sideways on small screens.

    Parameters
    ----------
    columns
        Title of each column as HTML, and its meaning, empty where the title says enough.
    rows
        The rows as HTML.
    """
    heads = ""
    for title, meaning in columns:
        hint = f' title="{escape(meaning)}"' if meaning else ""
        heads += f'<th scope="col"{hint}>{title}</th>'
    identity = f' id="{key}"' if key else ""
    return (
        f'<div class="scroll" tabindex="0"><table class="metrics"{identity}><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
