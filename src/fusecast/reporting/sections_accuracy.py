"""Report sections on accuracy, calibration, worst series and data quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from fusecast.data.duration_text import format_step
from fusecast.evaluation.breakdown import SeriesScores
from fusecast.evaluation.evaluate import Evaluation
from fusecast.evaluation.metrics import Scores
from fusecast.reporting.figures_accuracy import by_step_figure, calibration_figure, pit_figure
from fusecast.reporting.html import PageFigures, Section, scrolling_table, section
from fusecast.reporting.report_data import ReportData
from fusecast.reporting.text import (
    MINUS,
    MISSING,
    calibrated_name_in,
    decimals_for,
    first_target_suffix,
    format_number,
    format_percent,
    model_names,
)

MAX_DEVIATION = 0.02
"""Deviation of a coverage from its nominal value up to which it counts as met."""
STANDARD_ERROR_MEANING = (
    "standard error of the model's coverage in percentage points; steps up to a horizon apart are taken as dependent"
)
STATUS_SIGNS = {"good": ("✓", "fine"), "note": ("•", "note"), "bad": ("!", "check this")}


def accuracy_section(page: PageFigures) -> Section | None:
    """Show the metrics beside those of the baselines, and the error by step ahead."""
    data = page.data
    if data.evaluation is None:
        return None
    body = metrics_table(data.evaluation)
    if data.evaluation.note:
        body += f"<p>{escape(data.evaluation.note)}</p>"
    if data.breakdown is not None:
        figure = by_step_figure(data.breakdown.by_step, format_step(data.frequency))
        label, about = "Weighted quantile loss by step ahead", first_target_suffix(data.targets).strip()
        body += page.add_panel("by-step", figure, label, "By step ahead", about, "below")
    return section(
        "accuracy",
        "Accuracy",
        "<p>All predictors forecast the same windows of the test span. Lower is better, except for coverage, which "
        "should equal its nominal value. The best of each column is marked. Skill is the gain in WQL over the best "
        "baseline.</p>",
        body,
    )


@dataclass(frozen=True)
class Metric:
    """A column of the table: how to read it from scores, its meaning, and how far a value is from the best possible."""

    title: str
    meaning: str
    read: Callable[[Scores], float]
    badness: Callable[[float], float] | None = abs
    as_percent: bool = False


def metrics_table(evaluation: Evaluation) -> str:
    """Return one row a predictor, one block of rows a target, the best of each column marked."""
    metrics = _metrics(next(iter(evaluation.scores.values()))[0])
    columns = [("Forecast", ""), *((escape(metric.title), metric.meaning) for metric in metrics)]
    columns.append(("Skill", "WQL against the best baseline; higher is better"))
    blocks = "</tbody><tbody>".join(_target_rows(evaluation, t, metrics) for t in range(len(evaluation.targets)))
    return scrolling_table(columns, blocks)


def _metrics(scores: Scores) -> list[Metric]:
    """Return the columns for the levels and intervals of the scores: the outer levels and the middle one."""
    levels = sorted(scores.quantile_risk)
    shown = sorted({levels[0], min(levels, key=lambda q: abs(q - 0.5)), levels[-1]})
    metrics = [
        Metric(
            f"P{100 * level:g} risk",
            f"normalised loss of the {level:g} quantile; lower is better",
            lambda s, level=level: s.quantile_risk[level],  # type: ignore[misc]
        )
        for level in shown
    ]
    metrics += [
        Metric("WQL", "mean of the normalised losses of all quantiles; lower is better", lambda s: s.wql),
        Metric("MAE", "mean absolute error of the median, in units of the target", lambda s: s.mae),
        Metric("RMSE", "root mean squared error of the median, in units of the target", lambda s: s.rmse),
        Metric("MASE", "error relative to the seasonal changes in training; lower is better", lambda s: s.mase),
    ]
    for share in list(scores.coverage)[:1]:
        metrics += [
            Metric(
                f"{share:.0%} coverage",
                f"share of actuals inside the {share:.0%} interval; the closer to {share:.0%} the better",
                lambda s, share=share: s.coverage[share],  # type: ignore[misc]
                lambda value, share=share: abs(value - share),  # type: ignore[misc]
                as_percent=True,
            ),
            Metric(
                f"{share:.0%} width",
                f"mean width of the {share:.0%} interval, in units of the target",
                lambda s, share=share: s.width[share],  # type: ignore[misc]
                None,
            ),
        ]
    return metrics


def _target_rows(evaluation: Evaluation, target: int, metrics: list[Metric]) -> str:
    scores = {name: by_target[target] for name, by_target in evaluation.scores.items()}
    cells = dict.fromkeys(scores, "")
    for metric in metrics:
        values = {name: _value(metric, one) for name, one in scores.items()}
        best = _best(metric, values)
        decimals = decimals_for(list(values.values()))
        for name, value in values.items():
            text = format_percent(value) if metric.as_percent else format_number(value, decimals)
            cells[name] += f'<td class="best"><b>{text}</b></td>' if name in best else f"<td>{text}</td>"
    rows = ""
    if len(evaluation.targets) > 1:
        name = escape(evaluation.targets[target])
        rows = f'<tr class="target"><th scope="rowgroup" colspan="{len(metrics) + 2}">{name}</th></tr>'
    for name in scores:
        is_baseline = name in evaluation.baselines
        skill = evaluation.skill(name, target)["WQL"]
        kind = "baseline" if is_baseline else "model"
        last = "<td></td>" if is_baseline or not math.isfinite(skill) else _skill_cell(skill, sign=True)
        rows += f'<tr class="{kind}"><th scope="row">{escape(name)}</th>{cells[name]}{last}</tr>'
    return rows


def _value(metric: Metric, scores: Scores) -> float:
    try:
        return metric.read(scores)
    except KeyError:  # the levels of predictors may differ
        return math.nan


def _best(metric: Metric, values: dict[str, float]) -> set[str]:
    if metric.badness is None:
        return set()
    bad = {name: metric.badness(value) for name, value in values.items() if math.isfinite(value)}
    return {name for name, value in bad.items() if value == min(bad.values())}


def _skill_cell(skill: float, *, sign: bool = False) -> str:
    text = "baseline is exact" if skill == -math.inf else format_percent(skill)
    return f'<td class="{"better" if skill > 0 else "worse"}"><b>{"+" if sign and skill > 0 else ""}{text}</b></td>'


def calibration_section(page: PageFigures) -> Section | None:
    """Show whether the quantiles and intervals have the coverage of their names."""
    evaluation = page.data.evaluation
    models = [] if evaluation is None else model_names(evaluation)
    if evaluation is None or not models:
        return None
    model, baseline = models[0], evaluation.best_baseline()
    calibrated = calibrated_name_in(evaluation, model)
    scores = {name: evaluation.scores[name][0] for name in (model, calibrated, baseline) if name is not None}
    if not scores[model].calibration:
        return None
    about = first_target_suffix(evaluation.targets).strip()
    curve = calibration_figure(scores)
    left = page.add_panel("calibration-curve", curve, "Calibration of the quantiles", "Quantiles", about)
    histogram = pit_figure(scores[model])
    right = page.add_panel("pit", histogram, "Histogram of the PIT", "Between the quantiles", about)
    return section(
        "calibration",
        "Calibration",
        "<p>A 90% quantile is right when 9 of 10 actuals fall at or below it. Points above the diagonal on the left "
        "half mean lower quantiles that are too high; bars that rise at both ends mean intervals that are too narrow, "
        "bars that are high in the middle mean intervals that are too wide.</p>",
        f'<div class="pair">{left}{right}</div>{coverage_table(page.data, model, calibrated)}',
    )


def coverage_table(data: ReportData, model: str, calibrated: str | None) -> str:
    """Return the coverage of each interval on the test span, of the model and of the calibrated model."""
    evaluation = data.coverage or data.evaluation
    if evaluation is None:
        return ""
    names = [model] if calibrated is None else [model, calibrated]
    rows = ""
    for t, target in enumerate(evaluation.targets):
        scores = [evaluation.scores[name][t] for name in names]
        digits = decimals_for([width for one in scores for width in one.width.values()])
        errors = data.coverage_error[t] if t < len(data.coverage_error) else {}
        for share in scores[0].coverage:
            cells = "".join(_coverage_cells(one.coverage[share], share, one.width[share], digits) for one in scores)
            error = errors.get(share, math.nan)
            error_text = f"± {100 * error:.1f}" if math.isfinite(error) else MISSING
            name = f"{share:.0%}" + (f" of {escape(target)}" if len(evaluation.targets) > 1 else "")
            rows += f'<tr><th scope="row">{name}</th>{cells}<td>{error_text}</td></tr>'
    if not rows:
        return ""  # no two levels are equally far from the median
    columns = [("Interval", "")]
    for name in names:
        columns += [(f"{escape(name)}: coverage", ""), ("deviation", ""), ("width", "")]
    columns.append(("standard error", STANDARD_ERROR_MEANING))
    if calibrated is None:
        about = (
            "The model is not calibrated. <code>fusecast calibrate RUN</code> learns from the validation span how to "
            "shift the quantiles; the next report shows both."
        )
    else:
        method = escape(data.calibration_method)
        about = f"Calibrated by <code>{method}</code> on the validation span, not on this one."
    return (
        f"{scrolling_table(columns, rows, 'coverage')}"
        f"<p>Over {evaluation.windows:,} forecasts from the whole test span. Deviations are in percentage points; more "
        f"than {100 * MAX_DEVIATION:g} are marked. {about} A deviation of up to twice the standard error can be due to "
        "chance, and with few origins the standard error is itself uncertain.</p>"
    )


def _coverage_cells(coverage: float, share: float, width: float, digits: int) -> str:
    kind = "better" if abs(coverage - share) <= MAX_DEVIATION else "worse"
    inside, deviation = MISSING, MISSING
    if math.isfinite(coverage):
        inside = f"{100 * coverage:.1f}%"
        deviation = f"{round(100 * (coverage - share), 1) + 0.0:+.1f}".replace("-", MINUS)
    return f'<td>{inside}</td><td class="{kind}"><b>{deviation}</b></td><td>{format_number(width, digits)}</td>'


def worst_series_section(page: PageFigures) -> Section | None:
    """Show the series on which the model is worst, compared with the best baseline."""
    breakdown = page.data.breakdown
    if breakdown is None or len(breakdown.worst) < 2:
        return None
    worse = breakdown.worse_than_baseline
    if worse:
        verb = "is" if worse == 1 else "are"
        counts = f"{worse:,} of {breakdown.num_series:,} series {verb} forecast better by the best baseline"
        about = "These are the series with the lowest skill: inspect them before you rely on their forecasts."
    else:
        counts = "No series is forecast better by the best baseline"
        about = "These are the series with the smallest gain."
    suffix = escape(first_target_suffix(page.data.targets))
    measure = f", by the loss{suffix}" if suffix else ""
    rows = "".join(_series_row(row) for row in breakdown.worst)
    columns = [(title, "") for title in ("Series", "WQL", "MASE", "Coverage", "Skill")]
    return section("worst", "Worst series", f"<p>{counts}{measure}. {about}</p>", scrolling_table(columns, rows))


def _series_row(row: SeriesScores) -> str:
    cells = [
        format_number(row.wql, 3 if row.wql < 10 else 0),
        format_number(row.mase, 2),
        format_percent(row.coverage),
    ]
    body = "".join(f"<td>{cell}</td>" for cell in cells) + _skill_cell(row.skill)
    return f'<tr><th scope="row">{escape(row.series)}</th>{body}</tr>'


def quality_section(page: PageFigures) -> Section | None:
    """Show the data quality: missing values, gaps, outliers, constant and short series."""
    rows = ""
    for check in page.data.quality:
        sign, label = STATUS_SIGNS[check.status]
        rows += (
            f'<tr class="{check.status}"><td aria-label="{label}">{sign}</td>'
            f'<th scope="row">{escape(check.topic)}</th><td>{escape(check.finding)}</td></tr>'
        )
    if not rows:
        return None
    return section(
        "health",
        "Data quality",
        "<p>Forecasts are only as good as their data. A mark means that something should be checked, not that it is "
        "wrong.</p>",
        f'<table class="health">{rows}</table>',
    )
