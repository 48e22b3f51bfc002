"""Evaluate: the scores of several predictors on the same windows, in one table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fusecast.data.arrays import IntArray
from fusecast.data.panel import Panel
from fusecast.display.card import build_card, list_names
from fusecast.display.plottable import Plottable
from fusecast.errors import ConfigError, DataError
from fusecast.evaluation.actuals import gather_actuals, seasonal_error, stack_targets
from fusecast.evaluation.baseline_comparison import BaselineComparison
from fusecast.evaluation.metrics import Scores, ScoreSums, compute_errors, name_share, to_plain
from fusecast.inference.forecasts import Predictor
from fusecast.io.atomic import write_text_atomically
from fusecast.windows.window_index import WindowIndex

CHUNK_VALUES = 8_000_000  # forecast values held at once, 64 MB

ProgressCallback = Callable[[int, int], None]  # called with the windows that are done and all windows


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation(Plottable):
    """The scores of every predictor on every target, over the same windows."""

    targets: tuple[str, ...]  # names, Y
    season: int  # steps of a season, for MASE
    windows: int  # W, the windows that are scored
    horizon: int  # H, the steps of each
    scores: dict[str, tuple[Scores, ...]]  # name of the predictor -> its scores, one a target
    baselines: tuple[str, ...] = ()  # names of the predictors that the others are compared with
    series_without_training_rows: int = 0  # series evaluated of which the table holds no training row: see :attr:`note`
    comparison: BaselineComparison | None = None  # with baselines series by series, on validation rows

    def __repr__(self) -> str:
        return (
            f"Evaluation(predictors={list(self.scores)}, targets={list(self.targets)}, windows={self.windows}, "
            f"horizon={self.horizon})"
        )

    def _repr_html_(self) -> str:
        facts = {"windows": f"{self.windows:,} of {self.horizon:,} steps", "target": list_names(self.targets)}
        columns, rows = self.summarize()
        return build_card("Evaluation", facts, columns=columns, rows=rows, note=self.note)

    def summarize(self) -> tuple[list[str], list[list[object]]]:
        """Return names and rows of a short table: of each predictor and target the scores that matter most."""
        several = len(self.targets) > 1
        columns = ["predictor", *(["target"] if several else []), "WQL", "MAE", "MASE", "coverage", "skill"]
        rows: list[list[object]] = []
        for y, target in enumerate(self.targets):
            for name, by_target in self.scores.items():
                scores = by_target[y]
                share, inside = next(iter(scores.coverage.items()), (math.nan, math.nan))
                coverage = f"{inside:.1%} of {name_share(share)}" if math.isfinite(inside) else math.nan
                skill = self.skill(name, y)["WQL"]
                shown = "" if name in self.baselines else f"{skill:+.1%}" if math.isfinite(skill) else math.nan
                keys = [name, *([target] if several else [])]
                rows.append([*keys, scores.wql, scores.mae, scores.mase, coverage, shown])
        return columns, rows

    @property
    def note(self) -> str:
        """Why the comparison with the baselines is not fair, as a sentence; empty where it is."""
        count = self.series_without_training_rows
        if not count:
            return ""
        return (
            f"{count:,} of the series evaluated {'has' if count == 1 else 'have'} no row of the training span in this "
            "table: MASE leaves them out, and the baselines take the spread of their forecasts from the other series, "
            "so that skills there mean little. If the series go back to the training span, pass a table that does so "
            "too."
        )

    def best_baseline(self, target: int = 0) -> str | None:
        """Return the name of the baseline of lowest WQL; None without baselines."""
        wql = {name: self.scores[name][target].wql for name in self.baselines}
        return min(wql, key=lambda name: math.inf if math.isnan(wql[name]) else wql[name], default=None)

    def skill(self, name: str, target: int = 0) -> dict[str, float]:
        """Return how much better the predictor `name` is than the best baseline, by column: 1 - score / best score.

        `target` is the position of a target, from 0.
        0.2 is 20% better, below 0 is worse. The best is taken for each column apart, so that no single baseline has
        to be chosen. NaN where there is no baseline.
        """
        baselines = [headline_scores(self.scores[baseline][target]) for baseline in self.baselines]
        skills = {}
        for column, value in headline_scores(self.scores[name][target]).items():
            finite = [scores[column] for scores in baselines if math.isfinite(scores[column])]
            skills[column] = compute_skill(value, min(finite, default=math.nan))
        return skills

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row a predictor and target: names, scores, and the skill of its WQL; NaN where undefined."""
        return [
            {
                "predictor": name,
                "target": target,
                "baseline": name in self.baselines,
                **headline_scores(scores[y]),
                **{f"{name_share(share)} coverage": value for share, value in scores[y].coverage.items()},
                **{f"{name_share(share)} width": value for share, value in scores[y].width.items()},
                "skill": self.skill(name, y)["WQL"],
            }
            for y, target in enumerate(self.targets)
            for name, scores in self.scores.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for ``metrics.json``; NaN becomes null."""
        return {
            "targets": list(self.targets),
            "windows": self.windows,
            "horizon": self.horizon,
            "season": self.season,
            "baselines": list(self.baselines),
            "series_without_training_rows": self.series_without_training_rows,
            **({} if self.comparison is None else {"validation": self.comparison.to_dict()}),
            "scores": {
                name: {target: score.to_dict() for target, score in zip(self.targets, scores, strict=True)}
                for name, scores in self.scores.items()
            },
            "skill": {
                name: {target: to_plain(self.skill(name, y)) for y, target in enumerate(self.targets)}
                for name in self.scores
                if name not in self.baselines
            },
        }

    def write(self, path: Path) -> None:
        """Write :meth:`to_dict` as JSON, whole or not at all."""
        write_text_atomically(path, json.dumps(self.to_dict(), indent=2, allow_nan=False))


def headline_scores(scores: Scores) -> dict[str, float]:
    """Return the scores that predictors are ranked by, under the names that tables print; lower is better."""
    return {
        **{f"P{100 * level:g} risk": value for level, value in scores.quantile_risk.items()},
        "WQL": scores.wql,
        "MAE": scores.mae,
        "RMSE": scores.rmse,
        "MASE": scores.mase,
    }


def compute_skill(score: float, reference: float) -> float:
    """Return how much lower a score is than a reference, as a part of it; NaN where that is not a positive number."""
    return 1 - score / reference if math.isfinite(reference) and reference > 0 else math.nan


def evaluate(
    predictors: Sequence[Predictor],
    panel: Panel,
    index: WindowIndex,
    *,
    train_end: IntArray,
    season: int,
    baselines: Sequence[Predictor] = (),
    chunk_windows: int | None = None,
    on_progress: ProgressCallback | None = None,
) -> Evaluation:
    """Score predictors and baselines on every window of an index, `chunk_windows` at a time (None: as fit in memory).

    MASE is scaled by the seasonal changes, `season` steps apart, of the first `train_end` [S] rows of each series.
    Windows done and all windows are counted over all predictors. Raise a ConfigError when two predictors have the same
    name, and a DataError when the index has no window.
    """
    all_predictors = (*predictors, *baselines)
    check_unique_names(all_predictors)
    if len(index) == 0:
        raise DataError.nothing_to_evaluate(index.horizon)
    error_scale = seasonal_error(panel, train_end, season)
    values = stack_targets(panel)
    size = chunk_windows or max(1, CHUNK_VALUES // (index.horizon * values.shape[1] * 10))
    sums: dict[str, ScoreSums] = {}
    done = 0
    for chunk in split_into_chunks(index, size):
        for predictor in all_predictors:
            forecasts = predictor.predict(panel, chunk)
            if predictor.name not in sums:
                sums[predictor.name] = ScoreSums(forecasts.levels, values.shape[1])
            actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, index.horizon, values)
            scale = error_scale[forecasts.series]
            sums[predictor.name].add(compute_errors(forecasts.quantiles, actual, forecasts.levels, scale))
            done += len(chunk)
            if on_progress is not None:
                on_progress(done, len(index) * len(all_predictors))
    return Evaluation(
        targets=panel.schema.targets,
        season=season,
        windows=len(index),
        horizon=index.horizon,
        scores={name: predictor_sums.scores() for name, predictor_sums in sums.items()},
        baselines=tuple(baseline.name for baseline in baselines),
        series_without_training_rows=count_series_without_training_rows(index, train_end),
    )


def check_unique_names(predictors: Sequence[Predictor]) -> None:
    """Raise a ConfigError when two predictors have the same name."""
    names = [predictor.name for predictor in predictors]
    if len(set(names)) < len(names):
        raise ConfigError.duplicate_predictors(names)


def count_series_without_training_rows(index: WindowIndex, train_end: IntArray) -> int:
    """Return the number of series that have a window, and no row among the first `train_end` [S]."""
    return int(((index.counts > 0) & (train_end == 0)).sum())


def split_into_chunks(index: WindowIndex, size: int) -> Iterator[WindowIndex]:
    """Yield indices of at most `size` windows of an index, in order; their windows are numbered from 0 again."""
    offsets = index.offsets
    for start in range(0, len(index), size):
        begin = np.clip(start - offsets[:-1], 0, None)
        end = np.minimum(start + size, offsets[1:]) - offsets[:-1]
        first = index.first_cutoff + begin * index.stride
        yield replace(index, first_cutoff=first, last_cutoff=first + np.maximum(end - begin - 1, -1) * index.stride)
