"""The table of metrics as HTML."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from fusecast.evaluation.evaluate import Evaluation
from fusecast.evaluation.metrics import Scores
from fusecast.report.words import decimals_for, number, percent


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
