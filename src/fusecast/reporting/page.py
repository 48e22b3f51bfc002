"""The report: one self-contained HTML page about a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from plotly.offline import get_plotlyjs

from fusecast.errors.base import join_words
from fusecast.reporting.figure_style import DARK
from fusecast.reporting.figures_accuracy import forecast_figure, learning_rate_figure, loss_figure
from fusecast.reporting.html import PageFigure, PageFigures, Section, figure_container, section
from fusecast.reporting.report_data import ForecastPlot, ReportData
from fusecast.reporting.sections_accuracy import (
    accuracy_section,
    calibration_section,
    quality_section,
    worst_series_section,
)
from fusecast.reporting.sections_explanation import attention_section, regimes_section, variables_section
from fusecast.reporting.text import first_target_suffix, format_percent, model_names, span, summarise

MAX_FORECAST_PLOTS = 40


def build_report(data: ReportData) -> str:
    """Return the page: it loads nothing from elsewhere, and no name in it is ever run as code.

    At most 40 forecasts are drawn, evenly spread over those of `data`, and the page states so.
    """
    page = PageFigures(data)
    plots = _shown_plots(data)
    sections = _sections(page, plots)
    forecasts = ",".join(forecast_figure(plot).to_json() for plot in plots)
    folder = files("fusecast.reporting") / "templates"
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(data.title),
        style=folder.joinpath("page.css").read_text(encoding="utf-8"),
        heading=escape(f"{join_words(data.targets)}, {span(data.horizon, data.frequency)} ahead"),
        lead=" ".join(f"<span>{escape(sentence)}</span>" for sentence in summarise(data)),
        tiles=_tiles(data),
        links="".join(f'<a href="#{one.key}">{one.name}</a>' for one in sections),
        sections="".join(one.html for one in sections),
        created=escape(data.created or "Created by fusecast"),
        figures=escape_script(f'{{"figures":{page.json()},"forecasts":[{forecasts}]}}'),
        dark=escape_script(json.dumps(DARK)),
        plotly=get_plotlyjs(),
        script=folder.joinpath("page.js").read_text(encoding="utf-8"),
    )


def page_figures(data: ReportData) -> dict[str, PageFigure]:
    """Return the figures of the page by the id of their container, without the forecasts of single series."""
    page = PageFigures(data)
    _sections(page, _shown_plots(data))
    return page.figures


def escape_script(text: str) -> str:
    """Return JSON that is safe inside a script element: no text in it can end the element or start another."""
    codes: dict[str, str | int | None] = {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
    return text.translate(str.maketrans(codes))


def pick_evenly(count: int, limit: int) -> list[int]:
    """Return at most `limit` numbers below `count`, evenly spread, the first and the last among them."""
    if count <= limit:
        return list(range(count))
    numbers: list[int] = np.unique(np.linspace(0, count - 1, limit).round()).astype(int).tolist()
    return numbers


def _shown_plots(data: ReportData) -> list[ForecastPlot]:
    return [data.forecast_plots[i] for i in pick_evenly(len(data.forecast_plots), MAX_FORECAST_PLOTS)]


def _sections(page: PageFigures, plots: list[ForecastPlot]) -> list[Section]:
    """Return the sections that have something to show, and add their figures to the page."""
    sections = [
        _forecasts_section(page.data, plots),
        accuracy_section(page),
        calibration_section(page),
        worst_series_section(page),
        variables_section(page),
        attention_section(page),
        regimes_section(page),
        quality_section(page),
        _training_section(page),
        _facts_section(page.data),
    ]
    return [one for one in sections if one is not None]


def _tiles(data: ReportData) -> str:
    """Return the few most important numbers."""
    evaluation = data.evaluation
    if evaluation is None or not model_names(evaluation):
        return ""
    name = model_names(evaluation)[0]
    scores, skill, baseline = evaluation.scores[name][0], evaluation.skill(name)["WQL"], evaluation.best_baseline()
    suffix = first_target_suffix(evaluation.targets)
    tiles: list[tuple[str, str, str]] = []  # CSS class, label, value
    if baseline is not None and np.isfinite(skill):
        comparison = "better" if skill >= 0 else "worse"
        tiles.append((comparison, f"{comparison} than {baseline} (WQL{suffix})", format_percent(abs(skill))))
    middle = min(scores.quantile_risk, key=lambda level: abs(level - 0.5))
    tiles.append(("", f"P{100 * middle:g} risk{suffix}", f"{scores.quantile_risk[middle]:.3g}"))
    for share, coverage in list(scores.coverage.items())[:1]:
        tiles.append(("", f"of actuals{suffix} inside the {share:.0%} interval", format_percent(coverage)))
    tiles.append(("", f"test forecasts of {span(evaluation.horizon, data.frequency)}", f"{evaluation.windows:,}"))
    return "".join(
        f'<div class="{kind}"><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>' for kind, label, value in tiles
    )


def _forecasts_section(data: ReportData, plots: list[ForecastPlot]) -> Section | None:
    """Show the forecasts of one series at a time, with a picker."""
    if not plots:
        return None
    several_targets = len({plot.target for plot in data.forecast_plots}) > 1
    names = [" · ".join(filter(None, (p.series, p.target if several_targets else "", p.note))) for p in plots]
    options = "".join(f'<option value="{i}">{escape(name)}</option>' for i, name in enumerate(names))
    picker = (
        '<div class="picker"><label for="series">Series</label>'
        f'<select id="series">{options}</select>'
        '<button type="button" id="previous" aria-label="previous series">←</button>'
        '<button type="button" id="next" aria-label="next series">→</button></div>'
        if len(names) > 1
        else f'<p class="only">{escape(names[0])}</p>'
    )
    return section(
        "forecasts",
        "Forecasts",
        "<p>The thin line shows the actual values, the coloured line the median forecast. Each band should contain the "
        f"actual value as often as its name states.</p>{_describe_selection(data, plots)}",
        picker + figure_container("forecast", "Actual values with forecasts and their intervals"),
    )


def _describe_selection(data: ReportData, plots: list[ForecastPlot]) -> str:
    series = len({plot.series for plot in plots})
    if series < data.num_series:
        why = "; the others have no test window"
        if len(data.forecast_plots) >= MAX_FORECAST_PLOTS:
            worst = ", and the worst" if any(plot.note for plot in plots) else ""
            why = f", evenly selected{worst}"
        return f"<p>{series} of {data.num_series:,} series are on this page{why}.</p>"
    if len(plots) < len(data.forecast_plots):
        return f"<p>{len(plots)} of {len(data.forecast_plots):,} charts are on this page, evenly selected.</p>"
    return ""


def _training_section(page: PageFigures) -> Section | None:
    """Show the curves of losses and learning rate."""
    curves = page.data.curves
    if curves is None or not len(curves.epoch):
        return None
    panels = page.add_panel("loss", loss_figure(curves), "Loss by epoch", "Loss", kind="wide")
    if any(rate > 0 for rate in curves.learning_rate):
        figure = learning_rate_figure(curves)
        panels += page.add_panel("learning-rate", figure, "Learning rate by epoch", "Learning rate")
    return section(
        "training",
        "Training",
        "<p>The final weights are those of the epoch with the lowest validation loss. A validation loss that rises "
        "while the training loss falls is overfitting.</p>",
        f'<div class="curves">{panels}</div>',
    )


def _facts_section(data: ReportData) -> Section | None:
    """Show facts about the data and the run."""
    lists = [("Data", data.data_facts), ("Run", data.run_facts)]
    body = "".join(f"<div><h3>{name}</h3>{_facts_list(facts)}</div>" for name, facts in lists if facts)
    if not body:
        return None
    note = "<p>The data and the settings behind the forecasts.</p>"
    return section("data", "Data and run", note, f'<div class="lists">{body}</div>')


def _facts_list(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{rows}</dl>'
