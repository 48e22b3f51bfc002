"""The sentences and numbers of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fusecast.calibration.calibrated_predictor import calibrated_name
from fusecast.data.duration_text import format_duration
from fusecast.data.frequency import seasons_for
from fusecast.evaluation.evaluate import Evaluation
from fusecast.reporting.report_data import ReportData

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


def span(steps: int, frequency: str) -> str:
    """Say how long some steps are, short: ``24 h``."""
    return format_duration(steps, frequency).split(" (")[0]


def joined(words: Sequence[str]) -> str:
    """Join words as a sentence does: ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def seasons_back(frequency: str, lookback: int) -> str:
    """Say what a peak of the attention a season back means, where the lookback holds a season; empty elsewhere."""
    seasons = [season for season in seasons_for(frequency) if 1 < season <= lookback]
    named = " or ".join(span(season, frequency) for season in seasons)
    return f"A peak {named} back is a season it has found." if named else ""


def of_first(targets: Sequence[str]) -> str:
    """Name the first target where figures are about it and there are others: `` of sales``; empty with one."""
    return f" of {targets[0]}" if len(targets) > 1 else ""


def decimals_for(values: Sequence[float]) -> int:
    """Give the decimals that show three digits of the largest of some numbers."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return 0 if largest == 0 else min(6, max(0, 2 - math.floor(math.log10(largest))))


def number(value: float, decimals: int) -> str:
    """Write a number with so many decimals; a dash where there is none."""
    return f"{value:,.{decimals}f}".replace("-", MINUS) if math.isfinite(value) else NOTHING


def percent(value: float) -> str:
    """Write a share in whole percent; a dash where there is none."""
    return f"{value:.0%}".replace("-", MINUS) if math.isfinite(value) else NOTHING


def models_of(evaluation: Evaluation) -> list[str]:
    """Names of the predictors that are no baselines."""
    return [name for name in evaluation.scores if name not in evaluation.baselines]


def calibrated_of(evaluation: Evaluation, name: str) -> str | None:
    """Name of the predictor that is another one with its calibration; None where there is none."""
    calibrated = calibrated_name(name)
    return calibrated if calibrated in evaluation.scores else None


def summary(data: ReportData) -> list[str]:
    """Say in a few sentences what was forecast, how good it is, and what it goes by."""
    series = "one series" if data.num_series == 1 else f"{data.num_series:,} series"
    opening = (
        f"A Temporal Fusion Transformer forecasts {joined(data.targets)} of {series}, the next "
        f"{span(data.horizon, data.frequency)} from the last {span(data.lookback, data.frequency)}."
    )
    sentences = [opening]
    if data.evaluation is not None:
        sentences += [line for y in range(min(2, len(data.targets))) if (line := verdict(data.evaluation, y))]
    reasons = _reasons(data)
    return [*sentences, reasons] if reasons else sentences


def verdict(evaluation: Evaluation, target: int = 0) -> str:
    """Say how the model compares with the best baseline, and whether its intervals hold."""
    models = models_of(evaluation)
    if not models:
        return ""
    name = models[0]
    scores, skill = evaluation.scores[name][target], evaluation.skill(name, target)["WQL"]
    of_target = f" for {evaluation.targets[target]}" if len(evaluation.targets) > 1 else ""
    rival = evaluation.best_baseline(target)
    words = f"Over {evaluation.windows:,} forecasts it was not trained on{of_target}, "
    if rival is not None and evaluation.scores[rival][target].wql == 0 < scores.wql:
        words += (
            f"its weighted quantile loss is {scores.wql:.3g}, and the best baseline, {rival}, is exact: "
            "prefer the baseline until this changes"
        )
    elif rival is None or not math.isfinite(skill):
        words += f"its weighted quantile loss is {scores.wql:.3g}"
    elif abs(skill) < 0.005:
        words += f"its weighted quantile loss equals that of the best baseline, {rival}"
    elif skill > 0:
        words += f"its weighted quantile loss is {percent(skill)} lower than that of the best baseline, {rival}"
    else:
        words += (
            f"its weighted quantile loss is {percent(-skill)} higher than that of the best baseline, {rival}: "
            "prefer the baseline until this changes"
        )
    for share, held in scores.coverage.items():
        words += f"; its {share:.0%} intervals held {percent(held)} of what happened"
        if (calibrated := calibrated_of(evaluation, name)) is not None:
            words += f", {percent(evaluation.scores[calibrated][target].coverage[share])} once calibrated"
        break
    return words + "."


def _reasons(data: ReportData) -> str:
    """Name the variables that count most and the lags looked back to."""
    parts = []
    past = [f"“{row.variable}”" for row in data.importances if row.group == "past"][:2]
    future = [f"“{row.variable}”" for row in data.importances if row.group == "future"][:1]
    if past:
        ahead = f" and on the coming {future[0]}" if future else ""
        parts.append(f"relies most on past {joined(past)}{ahead}")
    if data.lags.startswith("looks"):
        parts.append(data.lags)
    elif not data.lags and data.attention is not None and (lags := data.attention.top_lags(2)):
        parts.append(f"looks back most to {joined([format_duration(-lag, data.frequency) for lag, _ in lags])} before")
    return f"It {', and '.join(parts)}." if parts else ""
