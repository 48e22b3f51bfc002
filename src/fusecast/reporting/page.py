"""One self-contained HTML page about a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from fusecast.reporting import figures, text
from fusecast.reporting import sections_accuracy as judged
from fusecast.reporting import sections_explanation as looks
from fusecast.reporting.figures import DARK
from fusecast.reporting.html import Canvas, Section, place, section
from fusecast.reporting.report_data import ForecastPlot, ReportData

MOST_FANS = 40


def build_report(data: ReportData) -> str:
    """Write the page: nothing in it is loaded from anywhere, and no name in it is ever run as code.

    At most 40 fans are drawn, evenly taken from those given, and the page says so.
    """
    page = _Page(data)
    sections = page.sections()
    kept = [section for section in sections if section]
    folder = files("fusecast.reporting") / "templates"
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(data.title),
        style=folder.joinpath("page.css").read_text(encoding="utf-8"),
        heading=escape(f"{text.joined(data.targets)}, {text.span(data.horizon, data.frequency)} ahead"),
        lead=" ".join(f"<span>{escape(sentence)}</span>" for sentence in text.summary(data)),
        tiles=page.tiles(),
        links="".join(f'<a href="#{key}">{name}</a>' for key, name, _ in kept),
        sections="".join(section for _, _, section in kept),
        made=escape(data.made or "Made by fusecast"),
        figures=as_script(page.figures_json()),
        dark=as_script(json.dumps(DARK)),
        plotly=get_plotlyjs(),
        script=folder.joinpath("page.js").read_text(encoding="utf-8"),
    )


def figures_of(data: ReportData) -> dict[str, go.Figure]:
    """Give the figures of the page by the id of their place, the fans of the picker left out."""
    page = _Page(data)
    page.sections()
    return page.canvas.figures


def as_script(text: str) -> str:
    """Make JSON safe inside a script element: no text in it can end the element or start another."""
    swaps = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    for character, code in swaps.items():
        text = text.replace(character, code)
    return text


def evenly(count: int, most: int) -> list[int]:
    """Give at most so many numbers below `count`, evenly spread, the first and the last among them."""
    return (
        list(range(count)) if count <= most else np.unique(np.linspace(0, count - 1, most).round()).astype(int).tolist()
    )


class _Page:
    """Collects the figures while the sections are written."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        self.canvas = Canvas(data)
        self._fans: list[ForecastPlot] = [data.fans[i] for i in evenly(len(data.fans), MOST_FANS)]

    def sections(self) -> list[Section | None]:
        """Every section, in order; None where there is nothing to show."""
        canvas = self.canvas
        return [
            self.forecasts(),
            judged.accuracy(canvas),
            judged.calibration(canvas),
            judged.worst(canvas),
            looks.importances(canvas),
            looks.attention(canvas),
            looks.regimes(canvas),
            judged.health(canvas),
            self.training(),
            self.facts(),
        ]

    def figures_json(self) -> str:
        """Figures by the id of their place, and those of the picker in its order."""
        fans = ",".join(figures.forecast_figure(fan).to_json() for fan in self._fans)
        return f'{{"placed":{self.canvas.json()},"fans":[{fans}]}}'

    def tiles(self) -> str:
        """The few numbers to remember."""
        evaluation = self.data.evaluation
        if evaluation is None or not text.models_of(evaluation):
            return ""
        name = text.models_of(evaluation)[0]
        scores, skill, rival = evaluation.scores[name][0], evaluation.skill(name), evaluation.best_baseline()
        found: list[tuple[str, str]] = []
        judged, of = "", text.of_first(evaluation.targets)
        if rival is not None and np.isfinite(skill["WQL"]):
            judged = "better" if skill["WQL"] >= 0 else "worse"
            found.append((text.percent(abs(skill["WQL"])), f"{judged} than {rival} (WQL{of})"))
        middle = min(scores.quantile_risk, key=lambda level: abs(level - 0.5))
        found.append((f"{scores.quantile_risk[middle]:.3g}", f"P{100 * middle:g} risk{of}"))
        found += [
            (text.percent(held), f"of actuals{of} inside the {share:.0%} interval")
            for share, held in list(scores.coverage.items())[:1]
        ]
        found.append(
            (f"{evaluation.windows:,}", f"test forecasts of {text.span(evaluation.horizon, self.data.frequency)}")
        )
        classes = [judged] + [""] * len(found)
        return "".join(
            f'<div class="{name}"><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>'
            for name, (value, label) in zip(classes, found, strict=False)
        )

    def forecasts(self) -> Section | None:
        """Fan charts with a picker."""
        if not self._fans:
            return None
        several_targets = len({fan.target for fan in self.data.fans}) > 1
        names = [
            " · ".join(filter(None, (fan.series, fan.target if several_targets else "", fan.note)))
            for fan in self._fans
        ]
        options = "".join(f'<option value="{i}">{escape(name)}</option>' for i, name in enumerate(names))
        picker = (
            '<div class="picker"><label for="series">Series</label>'
            f'<select id="series">{options}</select>'
            '<button type="button" id="previous" aria-label="previous series">←</button>'
            '<button type="button" id="next" aria-label="next series">→</button></div>'
            if len(names) > 1
            else f'<p class="only">{escape(names[0])}</p>'
        )
        series = len({fan.series for fan in self._fans})
        shown, too = "", ", and the worst" if any(fan.note for fan in self._fans) else ""
        if series < self.data.num_series:
            why = f", evenly taken{too}" if len(self.data.fans) >= MOST_FANS else "; the others have no test window"
            shown = f"<p>{series} of {self.data.num_series:,} series are on this page{why}.</p>"
        elif len(names) < len(self.data.fans):
            shown = f"<p>{len(names)} of {len(self.data.fans):,} charts are on this page, evenly taken.</p>"
        return section(
            "forecasts",
            "Forecasts",
            "<p>The thin line is what happened, the coloured line the median forecast. "
            f"The bands are where the actual should fall as often as their name says.</p>{shown}",
            picker + place("fan", "Actual values with forecasts and their intervals"),
        )

    def training(self) -> Section | None:
        """Curves of losses and learning rate."""
        curves = self.data.curves
        if curves is None or not len(curves.epoch):
            return None
        panels = self.canvas.panel("loss", figures.loss_figure(curves), "Loss by epoch", "Loss", kind="wide")
        if any(rate > 0 for rate in curves.learning_rate):
            drawn = figures.learning_rate_figure(curves)
            panels += self.canvas.panel("learning-rate", drawn, "Learning rate by epoch", "Learning rate")
        return section(
            "training",
            "Training",
            "<p>The weights kept are those of the best epoch in validation. A validation loss that climbs while the "
            "training loss falls is overfitting.</p>",
            f'<div class="curves">{panels}</div>',
        )

    def facts(self) -> Section | None:
        """Data and run in figures and words."""
        lists = [("Data", self.data.data_facts), ("Run", self.data.run_facts)]
        body = "".join(f"<div><h3>{name}</h3>{_facts(found)}</div>" for name, found in lists if found)
        if not body:
            return None
        return section("data", "Data and run", "<p>What the forecasts rest on.</p>", f'<div class="lists">{body}</div>')


def _facts(found: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>" for k, v in found.items())
    return f'<dl class="facts">{rows}</dl>'
