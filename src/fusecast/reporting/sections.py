"""What the sections of the page show: figures by the id of their container, and tables as rows of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import plotly.graph_objects as go
import polars as pl

from fusecast.data.frequency import format_step
from fusecast.evaluation.evaluate import Evaluation
from fusecast.evaluation.metrics import Scores, name_share
from fusecast.reporting import figures_accuracy, figures_explanation
from fusecast.reporting.report_data import ReportData
from fusecast.reporting.text import (
    MINUS,
    MISSING,
    decimals_for,
    first_target_suffix,
    format_number,
    format_percent,
    model_names,
    raw_name_in,
    span,
)

MAX_EVENTS = 8
MAX_DEVIATION = 0.02  # of a coverage from its nominal value, up to which it counts as met
MAX_BEHIND = 10  # series with a better baseline that are listed
STANDARD_ERROR_MEANING = (
    "standard error of the model's coverage in percentage points; steps up to a horizon apart are taken as dependent"
)


class PageFigure(NamedTuple):
    """A figure and its label, which describes it to those who cannot see it."""

    figure: go.Figure
    label: str


class Cell(NamedTuple):
    """A value as text; its kind is `best`, `better`, `worse` or empty."""

    text: str
    kind: str = ""


class Row(NamedTuple):
    """A row of a table under its name; its kind is `model`, `baseline` or empty."""

    name: str
    cells: list[Cell]
    kind: str = ""


class Table(NamedTuple):
    """A table: title and meaning of each column, the meaning empty where the title is enough, and rows by heading."""

    columns: list[tuple[str, str]]
    blocks: dict[str, list[Row]]


def page_figures(data: ReportData) -> dict[str, PageFigure]:
    """Return the figures of the page by the id of their container, without the forecasts of single series."""
    parts = (_accuracy_figures(data), _variable_figures(data), _attention_figures(data), _training_figures(data))
    return {key: PageFigure(figure, label) for part in parts for key, label, figure in part}


def _accuracy_figures(data: ReportData) -> Iterator[tuple[str, str, go.Figure]]:
    evaluation = data.evaluation
    if evaluation is None:
        return
    if data.breakdown is not None:
        figure = figures_accuracy.by_step_figure(data.breakdown.by_step, format_step(data.frequency))
        yield "by-step", "Weighted quantile loss by step ahead", figure
    for model in model_names(evaluation)[:1]:
        names = (model, raw_name_in(evaluation, model), evaluation.best_baseline())
        scores = {name: evaluation.scores[name][0] for name in names if name is not None}
        if scores[model].calibration:
            yield "calibration-curve", "Calibration of the quantiles", figures_accuracy.calibration_figure(scores)
            yield "pit", "Histogram of the PIT", figures_accuracy.pit_figure(scores[model])


def _variable_figures(data: ReportData) -> Iterator[tuple[str, str, go.Figure]]:
    if not data.importances:
        return
    for group in ("past", "future", "static"):
        rows = [row for row in data.importances if row.group == group]
        if rows:
            figure = figures_explanation.importance_figure(rows[: figures_explanation.MAX_BARS])
            yield f"importance-{group}", f"Importance of the {group} variables", figure
    over_time = data.importance_over_time
    if over_time is not None and over_time.height:
        for group in ("past", "future"):
            frame = over_time.filter(pl.col("group") == group)
            if frame["time"].n_unique() > 2 and frame["variable"].n_unique() > 1:
                figure = figures_explanation.weights_figure(frame, "time")
                yield f"over-time-{group}", f"Importance of the {group} variables over time", figure
    if data.agreement is not None:
        figure = figures_explanation.permutation_figure(data.agreement.table)
        yield "shuffled", "Increase of the loss when a variable is shuffled", figure


def _attention_figures(data: ReportData) -> Iterator[tuple[str, str, go.Figure]]:
    if data.attention is not None:
        yield (
            "attention-lags",
            "Attention by position in time",
            figures_explanation.attention_figure(data.attention, data.frequency),
        )
        if len(data.attention_by_step) > 1:
            figure = figures_explanation.attention_map_figure(data.attention_by_step, data.frequency)
            yield "attention-map", "Attention of each step ahead to each position", figure
    if data.timeline is not None and len(data.timeline.times):
        yield "timeline", "Distance of the attention over time", figures_explanation.timeline_figure(data.timeline)


def _training_figures(data: ReportData) -> Iterator[tuple[str, str, go.Figure]]:
    if data.curves is not None and len(data.curves.epoch):
        yield "loss", "Loss by epoch", figures_accuracy.loss_figure(data.curves)
        if any(rate > 0 for rate in data.curves.learning_rate):
            yield "learning-rate", "Learning rate by epoch", figures_accuracy.learning_rate_figure(data.curves)


def summary_tiles(data: ReportData) -> dict[str, Cell]:
    """Return the few most important numbers of the evaluation by their label; none without one."""
    evaluation = data.evaluation
    if evaluation is None or not model_names(evaluation):
        return {}
    name = model_names(evaluation)[0]
    scores, skill, baseline = evaluation.scores[name][0], evaluation.skill(name)["WQL"], evaluation.best_baseline()
    suffix = first_target_suffix(evaluation.targets)
    tiles = {}
    if baseline is not None and math.isfinite(skill):
        comparison = "better" if skill >= 0 else "worse"
        tiles[f"{comparison} than {baseline} (WQL{suffix})"] = Cell(format_percent(abs(skill)), comparison)
    middle = min(scores.quantile_risk, key=lambda level: abs(level - 0.5))
    tiles[f"P{100 * middle:g} risk{suffix}"] = Cell(f"{scores.quantile_risk[middle]:.3g}")
    for share, coverage in list(scores.coverage.items())[:1]:
        tiles[f"of actuals{suffix} inside the {name_share(share)} interval"] = Cell(format_percent(coverage))
    tiles[f"test forecasts of {span(evaluation.horizon, data.frequency)}"] = Cell(f"{evaluation.windows:,}")
    return tiles


class Metric(NamedTuple):
    """A column of the table: how to read it from scores, its meaning, and how far a value is from the best possible."""

    title: str
    meaning: str
    read: Callable[[Scores], float]
    badness: Callable[[float], float] | None = abs
    as_percent: bool = False


def metrics_table(evaluation: Evaluation) -> Table:
    """Return one row a predictor, one block of rows a target, the best of each column marked."""
    metrics = _metrics(next(iter(evaluation.scores.values()))[0])
    columns = [("Forecast", ""), *((metric.title, metric.meaning) for metric in metrics)]
    columns.append(("Skill", "WQL against the best baseline; higher is better"))
    targets = evaluation.targets if len(evaluation.targets) > 1 else [""]
    return Table(columns, {target: _predictor_rows(evaluation, t, metrics) for t, target in enumerate(targets)})


def _metrics(scores: Scores) -> list[Metric]:
    """Return the columns for the levels and intervals of the scores: the outer levels and the middle one."""
    levels = sorted(scores.quantile_risk)
    shown = sorted({levels[0], min(levels, key=lambda q: abs(q - 0.5)), levels[-1]})
    metrics = [
        Metric(
            f"P{100 * level:g} risk",
            f"normalised loss of the {level:g} quantile; lower is better",
            lambda s, level=level: s.quantile_risk.get(level, math.nan),  # type: ignore[misc]
        )
        for level in shown
    ]
    metrics += [
        Metric("WQL", "mean of the normalised losses of all quantiles; lower is better", lambda s: s.wql),
        Metric("MAE", "mean absolute error of the median, in units of the target", lambda s: s.mae),
        Metric("RMSE", "root mean squared error of the median, in units of the target", lambda s: s.rmse),
        Metric("MASE", "error relative to the seasonal changes in training; lower is better", lambda s: s.mase),
    ]
    if scores.coverage:
        share = next(iter(scores.coverage))
        nominal = name_share(share)
        metrics += [
            Metric(
                f"{nominal} coverage",
                f"share of actuals inside the {nominal} interval; the closer to {nominal} the better",
                lambda s: s.coverage.get(share, math.nan),
                lambda value: abs(value - share),
                as_percent=True,
            ),
            Metric(
                f"{nominal} width",
                f"mean width of the {nominal} interval, in units of the target",
                lambda s: s.width.get(share, math.nan),
                None,
            ),
        ]
    return metrics


def _predictor_rows(evaluation: Evaluation, target: int, metrics: list[Metric]) -> list[Row]:
    scores = {name: by_target[target] for name, by_target in evaluation.scores.items()}
    cells: dict[str, list[Cell]] = {name: [] for name in scores}
    for metric in metrics:
        values = {name: metric.read(one) for name, one in scores.items()}
        bad = {name: metric.badness(v) for name, v in values.items() if metric.badness and math.isfinite(v)}
        decimals = decimals_for(list(values.values()))
        for name, value in values.items():
            text = format_percent(value) if metric.as_percent else format_number(value, decimals)
            cells[name].append(Cell(text, "best" if name in bad and bad[name] == min(bad.values()) else ""))
    rows = []
    for name in scores:
        kind = "baseline" if name in evaluation.baselines else "model"
        skill = evaluation.skill(name, target)["WQL"]
        hidden = kind == "baseline" or not math.isfinite(skill)
        rows.append(Row(name, [*cells[name], Cell("") if hidden else _skill_cell(skill, sign="+")], kind))
    return rows


def _skill_cell(skill: float, sign: str = "") -> Cell:
    text = "baseline is exact" if skill == -math.inf else format_percent(skill)
    return Cell(f"{sign}{text}", "better") if skill > 0 else Cell(text, "worse")


def coverage_table(data: ReportData) -> Table | None:
    """Return the coverage of each interval on the test span, of the model and of its networks without calibration.

    None without an evaluated model, or where no two levels are equally far from the median.
    """
    evaluation = data.coverage or data.evaluation
    if evaluation is None or data.evaluation is None or not model_names(data.evaluation):
        return None
    model = model_names(data.evaluation)[0]
    names = [name for name in (model, raw_name_in(data.evaluation, model)) if name is not None]
    rows = []
    for t, target in enumerate(evaluation.targets):
        scores = [evaluation.scores[name][t] for name in names]
        digits = decimals_for([width for one in scores for width in one.width.values()])
        errors = data.coverage_error[t] if t < len(data.coverage_error) else {}
        for share in scores[0].coverage:
            cells = [cell for one in scores for cell in _coverage_cells(one, share, digits)]
            error = errors.get(share, math.nan)
            cells.append(Cell(f"± {100 * error:.1f}" if math.isfinite(error) else MISSING))
            rows.append(Row(f"{name_share(share)}" + (f" of {target}" if len(evaluation.targets) > 1 else ""), cells))
    if not rows:
        return None
    columns = [("Interval", "")]
    for name in names:
        columns += [(f"{name}: coverage", ""), ("deviation", ""), ("width", "")]
    return Table([*columns, ("standard error", STANDARD_ERROR_MEANING)], {"": rows})


def _coverage_cells(scores: Scores, share: float, digits: int) -> list[Cell]:
    coverage, inside, deviation = scores.coverage[share], MISSING, MISSING
    if math.isfinite(coverage):
        inside = f"{100 * coverage:.1f}%"
        deviation = f"{round(100 * (coverage - share), 1) + 0.0:+.1f}".replace("-", MINUS)
    kind = "better" if abs(coverage - share) <= MAX_DEVIATION else "worse"
    return [Cell(inside), Cell(deviation, kind), Cell(format_number(scores.width[share], digits))]


def worst_series_table(data: ReportData) -> Table | None:
    """Return the series on which the model is worst, with the skill against the best baseline; None of one series."""
    if data.breakdown is None or len(data.breakdown.worst) < 2:
        return None
    rows = []
    for scores in data.breakdown.worst:
        loss = format_number(scores.wql, 3 if scores.wql < 10 else 0)
        texts = (loss, format_number(scores.mase, 2), format_percent(scores.coverage))
        rows.append(Row(scores.series, [*map(Cell, texts), _skill_cell(scores.skill)]))
    return Table([(title, "") for title in ("Series", "WQL", "MASE", "Coverage", "Skill")], {"": rows})


def behind_table(data: ReportData) -> Table | None:
    """Return the series on which a baseline was ahead on the validation rows; None where there is none."""
    comparison = None if data.evaluation is None else data.evaluation.comparison
    if comparison is None or not comparison.behind:
        return None
    rows = []
    for each in comparison.behind[:MAX_BEHIND]:
        losses = (format_number(each.model_loss, 3), format_number(each.baseline_loss, 3))
        rows.append(Row(each.series, [*map(Cell, (*losses, each.baseline)), _skill_cell(-each.lead)]))
    titles = ("Series", "Model's loss", "Baseline's loss", "Baseline", "Skill")
    return Table([(title, "") for title in titles], {"": rows})


def events_table(data: ReportData) -> Table:
    """Return the spans in which the attention lies farthest from usual."""
    events = [] if data.timeline is None else data.timeline.events[:MAX_EVENTS]
    rows = [Row(when, [Cell(series), Cell(f"{distance:.2f}")]) for when, series, distance in events]
    return Table([(title, "") for title in ("When", "Series", "Distance")], {"": rows})
