"""Sections about the data and how good the forecasts are."""

from __future__ import annotations

from html import escape

from fusecast.explain.lags import step_in_words
from fusecast.report import charts, words
from fusecast.report.canvas import Canvas, Section, section
from fusecast.report.content import SeriesScores
from fusecast.report.table import metrics_table

SIGNS = {"good": ("✓", "fine"), "note": ("•", "to note"), "bad": ("!", "look at this")}


def health(canvas: Canvas) -> Section | None:
    """What is in the data: missing values, gaps, outliers, constant and short series."""
    rows = "".join(
        f'<tr class="{check.verdict}"><td aria-label="{SIGNS[check.verdict][1]}">{SIGNS[check.verdict][0]}</td>'
        f'<th scope="row">{escape(check.what)}</th><td>{escape(check.found)}</td></tr>'
        for check in canvas.data.health
    )
    if not rows:
        return None
    return section(
        "health",
        "Data health",
        "<p>What a model learns from decides what it can say. A mark asks for a look, not for alarm.</p>",
        f'<table class="health">{rows}</table>',
    )


def accuracy(canvas: Canvas) -> Section | None:
    """The metrics beside the baselines, the error by step ahead, and the series that go worst."""
    data = canvas.data
    if data.evaluation is None:
        return None
    body = f'<div class="scroll" tabindex="0">{metrics_table(data.evaluation)}</div>'
    if data.apart is not None:
        step = step_in_words(data.frequency)
        drawn = charts.by_step_figure(data.apart.by_step, step)
        body += canvas.panel("by-step", drawn, "Weighted quantile loss by step ahead", "By step ahead", kind="below")
    return section(
        "accuracy",
        "Accuracy",
        "<p>Everybody forecasts the same windows of the test span. Lower is better, but for coverage, which should "
        "equal its name. The best of each column is marked. Skill is the gain in WQL over the best baseline.</p>",
        body,
    )


def worst(canvas: Canvas) -> Section | None:
    """The series on which the model does worst beside the best baseline."""
    apart = canvas.data.apart
    if apart is None or len(apart.worst) < 2:
        return None
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("WQL", "MASE", "Coverage", "Skill"))
    rows = "".join(_row(row) for row in apart.worst)
    said = f"{apart.worse_than_baseline:,} of {apart.judged:,} series are forecast better by the best baseline."
    return section(
        "worst",
        "Worst series",
        f"<p>{said} These are the ones where the model falls behind most: look at them before you trust it there.</p>",
        f'<div class="scroll" tabindex="0"><table class="metrics"><thead><tr><th scope="col">Series</th>{heads}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>",
    )


def calibration(canvas: Canvas) -> Section | None:
    """Whether the intervals hold what they say."""
    evaluation = canvas.data.evaluation
    models = [] if evaluation is None else words.models_of(evaluation)
    if evaluation is None or not models:
        return None
    model, rival = models[0], evaluation.best_baseline()
    scores = {name: evaluation.scores[name][0] for name in (model, rival) if name is not None}
    if not scores[model].calibration:
        return None
    left = canvas.panel(
        "calibration-curve", charts.calibration_figure(scores), "Calibration of the quantiles", "Quantiles"
    )
    right = canvas.panel("pit", charts.pit_figure(scores[model]), "Histogram of the PIT", "Between the quantiles")
    held = "".join(
        f"<div><dt>{share:.0%} interval</dt><dd>{words.percent(found)} inside, {found - share:+.0%} off</dd></div>"
        for share, found in scores[model].coverage.items()
    )
    return section(
        "calibration",
        "Calibration",
        "<p>A 90% quantile is right when 9 of 10 actuals fall at or below it. Points above the diagonal on the left "
        "half mean lower quantiles that are too high; bars that rise at both ends mean intervals that are too narrow, "
        "a hump in the middle that they are too wide.</p>",
        f'<div class="pair">{left}{right}</div><dl class="facts below">{held}</dl>',
    )


def _row(row: SeriesScores) -> str:
    digits = 3 if row.wql < 10 else 0
    judged = "better" if row.skill > 0 else "worse"
    cells = [words.number(row.wql, digits), words.number(row.mase, 2), words.percent(row.coverage)]
    skill = f'<td class="{judged}"><b>{words.percent(row.skill)}</b></td>'
    return f'<tr><th scope="row">{escape(row.series)}</th>{"".join(f"<td>{c}</td>" for c in cells)}{skill}</tr>'
