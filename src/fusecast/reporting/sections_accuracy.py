"""Report sections on data quality, accuracy, worst series and calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from fusecast.data.duration_text import format_step
from fusecast.evaluation.evaluate import Evaluation
from fusecast.evaluation.metrics import Scores
from fusecast.reporting import figures, text
from fusecast.reporting.html import Canvas, Section, section
from fusecast.reporting.report_data import ReportData, SeriesScores
from fusecast.reporting.text import decimals_for, number, percent


@dataclass(frozen=True)
class Metric:
    """One column: how to read it from scores, what it means, and how far a value is from the best there can be."""

    title: str
    meaning: str
    read: Callable[[Scores], float]
    badness: Callable[[float], float] | None = abs
    as_percent: bool = False


def columns_of(scores: Scores) -> list[Metric]:
    """Give the columns for the levels and intervals that scores have: the outer levels and the middle one."""
    levels = sorted(scores.quantile_risk)
    shown = sorted({levels[0], min(levels, key=lambda q: abs(q - 0.5)), levels[-1]})
    columns = [
        Metric(
            f"P{100 * level:g} risk",
            f"normalised loss of the {level:g} quantile; lower is better",
            lambda s, level=level: s.quantile_risk[level],  # type: ignore[misc]
        )
        for level in shown
    ]
    columns += [
        Metric("WQL", "mean of the normalised losses of all quantiles; lower is better", lambda s: s.wql),
        Metric("MAE", "mean absolute error of the median, in units of the target", lambda s: s.mae),
        Metric("RMSE", "root mean squared error of the median, in units of the target", lambda s: s.rmse),
        Metric("MASE", "error relative to the seasonal changes seen in training; lower is better", lambda s: s.mase),
    ]
    for share in list(scores.coverage)[:1]:
        columns += [
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
    return columns


def metrics_table(evaluation: Evaluation) -> str:
    """One row a predictor, one block of rows a target, the best of each column marked."""
    first = next(iter(evaluation.scores.values()))[0]
    columns = columns_of(first)
    heads = "".join(f'<th scope="col" title="{escape(c.meaning)}">{escape(c.title)}</th>' for c in columns)
    skill_head = '<th scope="col" title="WQL against the best baseline; higher is better">Skill</th>'
    blocks = "".join(_block(evaluation, target, columns) for target in range(len(evaluation.targets)))
    return (
        f'<table class="metrics"><thead><tr><th scope="col">Forecast</th>{heads}{skill_head}</tr></thead>'
        f"{blocks}</table>"
    )


def _block(evaluation: Evaluation, target: int, columns: list[Metric]) -> str:
    scores = {name: own[target] for name, own in evaluation.scores.items()}
    cells: dict[str, str] = dict.fromkeys(scores, "")
    for column in columns:
        values = {name: _value(column, own) for name, own in scores.items()}
        best = _best(column, values)
        decimals = decimals_for(list(values.values()))
        for name, value in values.items():
            text = percent(value) if column.as_percent else number(value, decimals)
            cells[name] += f'<td class="best"><b>{text}</b></td>' if name in best else f"<td>{text}</td>"
    rows = ""
    for name in scores:
        is_baseline = name in evaluation.baselines
        skill = evaluation.skill(name, target)["WQL"]
        sign, judged = ("+", "better") if skill > 0 else ("", "worse")
        told = not is_baseline and math.isfinite(skill)
        last = f'<td class="{judged}"><b>{sign}{percent(skill)}</b></td>' if told else "<td></td>"
        kind = "baseline" if is_baseline else "model"
        rows += f'<tr class="{kind}"><th scope="row">{escape(name)}</th>{cells[name]}{last}</tr>'
    title = ""
    if len(evaluation.targets) > 1:
        span = len(columns) + 2
        title = (
            f'<tr class="target"><th scope="rowgroup" colspan="{span}">{escape(evaluation.targets[target])}</th></tr>'
        )
    return f"<tbody>{title}{rows}</tbody>"


def _value(column: Metric, scores: Scores) -> float:
    try:
        return column.read(scores)
    except KeyError:  # predictors may have levels of their own
        return math.nan


def _best(column: Metric, values: dict[str, float]) -> set[str]:
    if column.badness is None:
        return set()
    bad = {name: column.badness(value) for name, value in values.items() if math.isfinite(value)}
    return {name for name, value in bad.items() if value == min(bad.values())}


NEAR = 0.02
"""How far the share inside an interval may lie off its name."""
CHANCE = "standard error of the model's coverage in points; moments up to a horizon apart count as hanging together"
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
    if data.evaluation.note:
        body += f"<p>{escape(data.evaluation.note)}</p>"
    if data.apart is not None:
        step = format_step(data.frequency)
        drawn = figures.by_step_figure(data.apart.by_step, step)
        label, of = "Weighted quantile loss by step ahead", text.of_first(data.targets)
        body += canvas.panel("by-step", drawn, label, "By step ahead", of.strip(), "below")
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
    of, worse = escape(text.of_first(canvas.data.targets)), apart.worse_than_baseline
    said = f"{worse:,} of {apart.judged:,} series {'is' if worse == 1 else 'are'} forecast better by the best baseline"
    told = "These are the ones where the model falls behind most: look at them before you trust it there."
    if not worse:
        said, told = "No series is forecast better by the best baseline", "These are the ones where it gains least."
    return section(
        "worst",
        "Worst series",
        f"<p>{said}{', by the loss' + of if of else ''}. {told}</p>",
        f'<div class="scroll" tabindex="0"><table class="metrics"><thead><tr><th scope="col">Series</th>{heads}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>",
    )


def calibration(canvas: Canvas) -> Section | None:
    """Whether the intervals hold what they say."""
    evaluation = canvas.data.evaluation
    models = [] if evaluation is None else text.models_of(evaluation)
    if evaluation is None or not models:
        return None
    model, rival = models[0], evaluation.best_baseline()
    calibrated = text.calibrated_of(evaluation, model)
    scores = {name: evaluation.scores[name][0] for name in (model, calibrated, rival) if name is not None}
    if not scores[model].calibration:
        return None
    of = text.of_first(evaluation.targets).strip()
    curve = figures.calibration_figure(scores)
    left = canvas.panel("calibration-curve", curve, "Calibration of the quantiles", "Quantiles", of)
    right = canvas.panel("pit", figures.pit_figure(scores[model]), "Histogram of the PIT", "Between the quantiles", of)
    return section(
        "calibration",
        "Calibration",
        "<p>A 90% quantile is right when 9 of 10 actuals fall at or below it. Points above the diagonal on the left "
        "half mean lower quantiles that are too high; bars that rise at both ends mean intervals that are too narrow, "
        "a hump in the middle that they are too wide.</p>",
        f'<div class="pair">{left}{right}</div>{coverage(canvas.data, model, calibrated)}',
    )


def coverage(data: ReportData, model: str, calibrated: str | None) -> str:
    """How much each interval held on the test span, as the model gives it and as its calibration shifts it."""
    evaluation = data.held or data.evaluation
    if evaluation is None:
        return ""
    names = [model] if calibrated is None else [model, calibrated]
    rows, several = "", len(evaluation.targets) > 1
    for place, target in enumerate(evaluation.targets):
        own = [evaluation.scores[name][place] for name in names]
        digits = text.decimals_for([width for score in own for width in score.width.values()])
        chance = data.chance[place] if place < len(data.chance) else {}
        for share in own[0].coverage:
            cells = "".join(_held(score.coverage[share], share, score.width[share], digits) for score in own)
            by_chance = chance.get(share, math.nan)
            told = f"± {100 * by_chance:.1f}" if math.isfinite(by_chance) else text.NOTHING
            name = f"{share:.0%}" + (f" of {escape(target)}" if several else "")
            rows += f'<tr><th scope="row">{name}</th>{cells}<td>{told}</td></tr>'
    said = (
        f"Calibrated by <code>{escape(data.calibrated_by)}</code> on the validation span, not on this one."
        if calibrated is not None
        else "The model is not calibrated. <code>fusecast calibrate RUN</code> learns from the "
        "validation span how to shift the quantiles; the next report shows both."
    )
    if not rows:
        return ""  # no two levels lie as far from the middle as each other
    heads = "".join(
        f'<th scope="col">{escape(name)}: inside</th><th scope="col">off</th><th scope="col">width</th>'
        for name in names
    )
    return (
        '<div class="scroll" tabindex="0"><table class="metrics" id="coverage"><thead><tr>'
        f'<th scope="col">Interval</th>{heads}<th scope="col" title="{CHANCE}">by chance</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f"<p>Over {evaluation.windows:,} forecasts, from all over the test span. Off is in points; more than 2 are "
        f"marked. {said} A share can lie off by chance: twice the standard error beside it is no surprise, and where a "
        "few moments decide, that error is itself a guess.</p>"
    )


def _held(found: float, share: float, width: float, digits: int) -> str:
    judged = "better" if abs(found - share) <= NEAR else "worse"
    off = (
        f"{round(100 * (found - share), 1) + 0.0:+.1f}".replace("-", text.MINUS)
        if math.isfinite(found)
        else text.NOTHING
    )
    inside = f"{100 * found:.1f}%" if math.isfinite(found) else text.NOTHING
    return f'<td>{inside}</td><td class="{judged}"><b>{off}</b></td><td>{text.number(width, digits)}</td>'


def _row(row: SeriesScores) -> str:
    digits = 3 if row.wql < 10 else 0
    judged = "better" if row.skill > 0 else "worse"
    cells = [text.number(row.wql, digits), text.number(row.mase, 2), text.percent(row.coverage)]
    share = "baseline is exact" if row.skill == -math.inf else text.percent(row.skill)
    skill = f'<td class="{judged}"><b>{share}</b></td>'
    return f'<tr><th scope="row">{escape(row.series)}</th>{"".join(f"<td>{c}</td>" for c in cells)}{skill}</tr>'
