"""The report: one self-contained HTML page about a run."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fusecast.errors.base import format_count, join_words
from fusecast.reporting.figure_style import DARK
from fusecast.reporting.figures_accuracy import forecast_figure
from fusecast.reporting.figures_explanation import MAX_BARS
from fusecast.reporting.report_data import ForecastPlot, ReportData
from fusecast.reporting.sections import (
    MAX_DEVIATION,
    behind_table,
    coverage_table,
    events_table,
    metrics_table,
    page_figures,
    summary_tiles,
    worst_series_table,
)
from fusecast.reporting.text import describe_season_peaks, first_target_suffix, span, summarise

MAX_FORECAST_PLOTS = 40
MAX_NOTES = 8


def build_report(data: ReportData) -> str:
    """Return the page: it loads nothing from elsewhere, and no name in it is ever run as code.

    At most 40 forecasts are drawn, evenly spread over those of `data`, and the page states so.
    """
    plots = [data.forecast_plots[i] for i in pick_evenly(len(data.forecast_plots), MAX_FORECAST_PLOTS)]
    figures, worst = page_figures(data), worst_series_table(data)
    sections = {
        ("forecasts", "Forecasts"): plots,
        ("accuracy", "Accuracy"): data.evaluation,
        ("calibration", "Calibration"): "pit" in figures,
        ("worst", "Worst series"): worst,
        ("variables", "Variables"): data.importances,
        ("attention", "Attention"): data.attention,
        ("regimes", "Regimes and events"): "timeline" in figures,
        ("health", "Data quality"): data.quality,
        ("training", "Training"): "loss" in figures,
        ("data", "Data and run"): data.data_facts or data.run_facts,
    }
    several = len({plot.target for plot in data.forecast_plots}) > 1
    named = ",".join(f"{json.dumps(key)}:{one.figure.to_json()}" for key, one in figures.items())
    forecasts = ",".join(forecast_figure(plot).to_json() for plot in plots)
    return _environment().get_template("page.html").render(
        data=data,
        sections={key: name for (key, name), content in sections.items() if content},
        figures=figures,
        heading=f"{join_words(data.targets)}, {span(data.horizon, data.frequency)} ahead",
        sentences=summarise(data),
        tiles=summary_tiles(data),
        plot_names=[" · ".join(filter(None, (p.series, p.target if several else "", p.note))) for p in plots],
        selection=_describe_selection(data, plots),
        of_target=first_target_suffix(data.targets).strip(),
        season_peaks=describe_season_peaks(data.frequency, data.lookback),
        metrics=metrics_table(data.evaluation) if data.evaluation else None,
        coverage=coverage_table(data),
        worst=worst,
        behind=behind_table(data),
        events=events_table(data),
        max_bars=MAX_BARS,
        max_notes=MAX_NOTES,
        max_deviation=f"{100 * MAX_DEVIATION:g}",
        figures_json=escape_script(f'{{"figures":{{{named}}},"forecasts":[{forecasts}]}}'),
        dark_json=escape_script(json.dumps(DARK)),
        plotly=Markup(get_plotlyjs()),  # noqa: S704  code of a dependency
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fusecast.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.globals["format_count"] = format_count
    return environment


def escape_script(text: str) -> Markup:
    """Return JSON that is safe inside a script element: no text in it can end the element or start another."""
    codes = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
    return Markup(text.translate(codes))  # noqa: S704  escaped above


def pick_evenly(count: int, limit: int) -> list[int]:
    """Return at most `limit` numbers below `count`, evenly spread, the first and the last among them."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, limit)).round())]


def _describe_selection(data: ReportData, plots: list[ForecastPlot]) -> str:
    series = len({plot.series for plot in plots})
    if series < data.num_series:
        why = "; the others have no test window"
        if len(data.forecast_plots) >= MAX_FORECAST_PLOTS:
            worst = ", and the worst" if any(plot.note for plot in plots) else ""
            why = f", evenly selected{worst}"
        return f"{series} of {data.num_series:,} series are on this page{why}."
    if len(plots) < len(data.forecast_plots):
        return f"{len(plots)} of {len(data.forecast_plots):,} charts are on this page, evenly selected."
    return ""
