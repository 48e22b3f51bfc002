"""Sentences and numbers of a report as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fusecast.calibration.calibrated_predictor import raw_name
from fusecast.data.frequency import format_duration, seasons_for
from fusecast.errors.base import join_words
from fusecast.evaluation.evaluate import Evaluation
from fusecast.evaluation.metrics import name_share
from fusecast.reporting.report_data import ReportData

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


def span(steps: int, frequency: str) -> str:
    """Return the length of some steps, short: ``24 h``."""
    return format_duration(steps, frequency).partition(" (")[0]


def decimals_for(values: Sequence[float]) -> int:
    """Return the number of decimals that shows three digits of the largest of some numbers."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return 0 if largest == 0 else min(6, max(0, 2 - math.floor(math.log10(largest))))


def format_number(value: float, decimals: int) -> str:
    """Format a number with so many decimals; a dash where there is none."""
    return f"{value:,.{decimals}f}".replace("-", MINUS) if math.isfinite(value) else MISSING


def format_percent(value: float) -> str:
    """Format a share in whole percent; a dash where there is none."""
    return f"{value:.0%}".replace("-", MINUS) if math.isfinite(value) else MISSING


def model_names(evaluation: Evaluation) -> list[str]:
    """Return the names of the predictors that are no baselines."""
    return [name for name in evaluation.scores if name not in evaluation.baselines]


def raw_name_in(evaluation: Evaluation, name: str) -> str | None:
    """Return the name of a model without its calibration; None where it was not evaluated beside it."""
    raw = raw_name(name)
    return raw if raw in evaluation.scores else None


def first_target_suffix(targets: Sequence[str]) -> str:
    """Return `` of sales`` for figures about the first target where there are others; empty with one target."""
    return f" of {targets[0]}" if len(targets) > 1 else ""


def describe_season_peaks(frequency: str, lookback: int) -> str:
    """Return what a peak of the attention a season back means, where the lookback holds a season; else nothing."""
    seasons = [span(season, frequency) for season in seasons_for(frequency) if 1 < season <= lookback]
    return f"A peak {' or '.join(seasons)} back is a season that the network uses." if seasons else ""


def summarise(data: ReportData) -> list[str]:
    """Return a few sentences: what was forecast, how accurately, and from which variables and lags."""
    series = "one series" if data.num_series == 1 else f"{data.num_series:,} series"
    opening = (
        f"A Temporal Fusion Transformer forecasts {join_words(data.targets)} of {series}, the next "
        f"{span(data.horizon, data.frequency)} from the last {span(data.lookback, data.frequency)}."
    )
    accuracy = []
    if data.evaluation is not None:
        accuracy = [describe_accuracy(data.evaluation, target) for target in range(min(2, len(data.targets)))]
    return [sentence for sentence in (opening, *accuracy, data.mixture, _describe_inputs(data)) if sentence]


def describe_accuracy(evaluation: Evaluation, target: int = 0) -> str:
    """Return how the model compares with the best baseline, and the coverage of its widest interval."""
    models = model_names(evaluation)
    if not models:
        return ""
    name = models[0]
    scores, skill = evaluation.scores[name][target], evaluation.skill(name, target)["WQL"]
    baseline = evaluation.best_baseline(target)
    raw = raw_name_in(evaluation, name)
    of_target = f" for {evaluation.targets[target]}" if len(evaluation.targets) > 1 else ""
    sentence = f"Over {evaluation.windows:,} forecasts it was not trained on{of_target}, its weighted quantile loss "
    if baseline is not None and evaluation.scores[baseline][target].wql == 0 < scores.wql:
        sentence += f"is {scores.wql:.3g}, and the best baseline, {baseline}, is exact: prefer the baseline for now"
    elif baseline is None or not math.isfinite(skill):
        sentence += f"is {scores.wql:.3g}"
    elif abs(skill) < 0.005:
        sentence += f"equals that of the best baseline, {baseline}"
    elif skill > 0:
        sentence += f"is {format_percent(skill)} lower than that of the best baseline, {baseline}"
    else:
        sentence += (
            f"is {format_percent(-skill)} higher than that of the best baseline, {baseline}: "
            "prefer the baseline for now"
        )
    for share, coverage in list(scores.coverage.items())[:1]:
        sentence += f"; its {name_share(share)} intervals covered {format_percent(coverage)} of the actual values"
        if raw is not None:
            sentence += f", {format_percent(evaluation.scores[raw][target].coverage[share])} before calibration"
    return sentence + "."


def _describe_inputs(data: ReportData) -> str:
    """Return the variables of the largest weight and the lags of the most attention as a sentence."""
    parts = []
    past = [f"“{row.variable}”" for row in data.importances if row.group == "past"][:2]
    future = [f"“{row.variable}”" for row in data.importances if row.group == "future"][:1]
    if past:
        known = f" and on the future values of {future[0]}" if future else ""
        parts.append(f"relies most on past {join_words(past)}{known}")
    if data.patterns and not data.patterns.startswith("attends to no "):
        parts.append(data.patterns)
    elif not data.patterns and data.attention is not None and (lags := data.attention.top_lags(2)):
        words = join_words([format_duration(-lag, data.frequency) for lag, _ in lags])
        parts.append(f"attends most to {words} before")
    return f"It {', and '.join(parts)}." if parts else ""
