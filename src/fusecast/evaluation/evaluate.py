"""Evaluate: several predictors judged on the same windows, in one table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.errors import ConfigError, DataError
from fusecast.evaluation.actuals import actuals, targets
from fusecast.evaluation.metrics import Scores, ScoreSums
from fusecast.evaluation.seasonal_error import seasonal_error
from fusecast.inference.predictor import Predictor
from fusecast.windows.window_index import WindowIndex

CHUNK_VALUES = 8_000_000  # forecast values held at once, 64 MB


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of every predictor on every target, over the same windows."""

    targets: tuple[str, ...]
    season: int
    """Steps of a season, for MASE."""
    windows: int
    horizon: int
    scores: dict[str, tuple[Scores, ...]]
    """Name of the predictor -> its scores, one a target."""
    baselines: tuple[str, ...] = ()
    """Names of the predictors that the others are compared with."""
    untrained: int = 0
    """Series judged of which the table holds no training row: see :attr:`note`."""

    @property
    def note(self) -> str:
        """What makes the comparison lame, in words; empty where nothing does."""
        if not self.untrained:
            return ""
        return (
            f"{self.untrained:,} of the series judged {'has' if self.untrained == 1 else 'have'} no row of the training"
            " span in this table: MASE leaves them out, and what baselines know of their spread comes from the other "
            "series, so that skills there say little. Give a table that goes back to the training span, if they do."
        )

    def best_baseline(self, target: int = 0) -> str | None:
        """Name of the baseline of lowest WQL; None without baselines."""
        return min(self.baselines, key=lambda name: _or_inf(self.scores[name][target].wql), default=None)

    def skill(self, name: str, target: int = 0) -> dict[str, float]:
        """Say how much better a predictor is than the best baseline, column by column: 1 - score / best score.

        0.2 is 20% better, below 0 is worse. The best is taken for each column apart, so that no single baseline has
        to be chosen. NaN where there is no baseline.
        """
        own = headline(self.scores[name][target])
        rivals = [headline(self.scores[rival][target]) for rival in self.baselines]
        result = {}
        for column, value in own.items():
            best = min((r[column] for r in rivals if math.isfinite(r[column])), default=math.nan)
            result[column] = 1 - value / best if best > 0 else math.nan
        return result

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a predictor and target: names, scores, and the skill of its WQL; NaN where undefined."""
        rows = []
        for number, target in enumerate(self.targets):
            for name, scores in self.scores.items():
                rows.append(
                    {
                        "predictor": name,
                        "target": target,
                        "baseline": name in self.baselines,
                        **headline(scores[number]),
                        **{f"{share:.0%} coverage": value for share, value in scores[number].coverage.items()},
                        **{f"{share:.0%} width": value for share, value in scores[number].width.items()},
                        "skill": self.skill(name, number)["WQL"],
                    }
                )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for ``metrics.json``; NaN becomes null."""
        return {
            "targets": list(self.targets),
            "windows": self.windows,
            "horizon": self.horizon,
            "season": self.season,
            "baselines": list(self.baselines),
            "series_without_training_rows": self.untrained,
            "scores": {
                name: {target: score.to_dict() for target, score in zip(self.targets, scores, strict=True)}
                for name, scores in self.scores.items()
            },
            "skill": {
                name: {
                    target: {k: v if math.isfinite(v) else None for k, v in self.skill(name, number).items()}
                    for number, target in enumerate(self.targets)
                }
                for name in self.scores
                if name not in self.baselines
            },
        }

    def write(self, path: Path) -> None:
        """Write :meth:`to_dict` as JSON."""
        path.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def headline(scores: Scores) -> dict[str, float]:
    """Give the scores that predictors are ranked by, under the names that tables print; lower is better."""
    return {
        **{f"P{100 * level:g} risk": value for level, value in scores.quantile_risk.items()},
        "WQL": scores.wql,
        "MAE": scores.mae,
        "RMSE": scores.rmse,
        "MASE": scores.mase,
    }


def evaluate(
    predictors: Sequence[Predictor],
    panel: Panel,
    index: WindowIndex,
    *,
    train_end: NDArray[np.int64],
    season: int,
    baselines: Sequence[Predictor] = (),
    chunk_windows: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge predictors and baselines on every window of an index, a bounded number of windows at a time.

    Parameters
    ----------
    train_end
        Rows of each series that belong to training, [S]: the span that MASE takes its scale from.
    season
        Steps of a season, for MASE.
    chunk_windows
        Windows forecast at once; by default as many as give some millions of values.
    on_progress
        Called with the windows judged so far and the windows there are, over all predictors.

    Raises
    ------
    ConfigError
        When two predictors have the same name.
    DataError
        When the index has no window.
    """
    everybody = (*predictors, *baselines)
    names = [predictor.name for predictor in everybody]
    if len(set(names)) < len(names):
        raise ConfigError.predictors_share_a_name(names)
    if len(index) == 0:
        raise DataError.nothing_to_evaluate(index.horizon)
    error_scale = seasonal_error(panel, train_end, season)
    values = targets(panel)
    size = chunk_windows or max(1, CHUNK_VALUES // (index.horizon * values.shape[1] * 10))
    sums: dict[str, ScoreSums] = {}
    done = 0
    for part in chunks(index, size):
        for predictor in everybody:
            made = predictor.predict(panel, part)
            if predictor.name not in sums:
                sums[predictor.name] = ScoreSums(made.levels, values.shape[1])
            actual = actuals(panel, made.series, made.cutoff, index.horizon, values)
            sums[predictor.name].add(made.quantiles, actual, error_scale[made.series])
            done += len(part)
            if on_progress is not None:
                on_progress(done, len(index) * len(everybody))
    return Evaluation(
        targets=panel.schema.targets,
        season=season,
        windows=len(index),
        horizon=index.horizon,
        scores={name: gathered.scores() for name, gathered in sums.items()},
        baselines=tuple(baseline.name for baseline in baselines),
        untrained=untrained_among(index, train_end),
    )


def untrained_among(index: WindowIndex, train_end: NDArray[np.int64]) -> int:
    """Count the series that have a window, and no row among the first `train_end` [S]."""
    return int(((index.counts > 0) & (train_end == 0)).sum())


def chunks(index: WindowIndex, size: int) -> Iterator[WindowIndex]:
    """Cut an index into indices of at most `size` windows, in order; their windows are numbered from 0 again."""
    offsets = index.offsets
    for start in range(0, len(index), size):
        begin = np.clip(start - offsets[:-1], 0, None)
        end = np.minimum(start + size, offsets[1:]) - offsets[:-1]
        yield WindowIndex(
            lookback=index.lookback,
            horizon=index.horizon,
            first_cutoff=index.first_cutoff + begin * index.stride,
            last_cutoff=index.first_cutoff + np.maximum(end - 1, begin - 1) * index.stride,
            stride=index.stride,
        )


def _or_inf(value: float) -> float:
    return value if math.isfinite(value) else math.inf
