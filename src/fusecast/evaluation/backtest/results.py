"""Backtest: what rolling forecasts came to, overall and apart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fusecast.errors import ConfigError
from fusecast.evaluation.breakdown import Tally
from fusecast.evaluation.evaluate import Evaluation
from fusecast.evaluation.significance import DieboldMariano, diebold_mariano

FEWEST_ORIGINS = 10
"""Origins that a Diebold-Mariano test needs: fewer have no variance to speak of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Backtest:
    """The scores of a backtest, and where its forecasts are."""

    targets: tuple[str, ...]
    season: int
    """Steps of a season, for MASE and RMSSE."""
    windows: int
    horizon: int
    stride: int
    span: tuple[Any, Any]
    """Times of the first and the last step forecast."""
    tallies: Mapping[str, Tally]
    """Name of the predictor -> its scores."""
    baselines: tuple[str, ...]
    seen: int = 0
    """Windows that forecast steps which the model was trained on or chosen by: their scores flatter it."""
    calibration_seen: int = 0
    """Windows of refitted models before the end of the span that the calibration was learned from: it flatters them."""
    untrained: int = 0
    """Series judged of which the table holds no training row."""
    path: Path | None = None
    """The long table of forecasts; None where it is in `table`."""
    table: pl.DataFrame | None = None
    """The long table of forecasts, where no file was asked for."""

    @property
    def groupings(self) -> tuple[str, ...]:
        """What :meth:`metrics` can be asked for: all, series, step, slices of the calendar, origin."""
        return next(iter(self.tallies.values())).by

    @cached_property
    def evaluation(self) -> Evaluation:
        """The scores over everything, as `evaluate` gives them, skill against the best baseline included."""
        return Evaluation(
            targets=self.targets,
            season=self.season,
            windows=self.windows,
            horizon=self.horizon,
            scores={name: tally.scores() for name, tally in self.tallies.items()},
            baselines=self.baselines,
            untrained=self.untrained,
        )

    def metrics(self, by: str = "all") -> pl.DataFrame:
        """Every score of every predictor, one row a predictor, group and target.

        Columns: predictor, by, group, target, count, then the scores of :class:`Scores`; scores by level or interval
        have a column each, such as ``pinball 0.9`` and ``coverage 0.8``.

        Raises
        ------
        ConfigError
            When there is no such grouping; those there are are named.
        """
        if by not in self.groupings:
            raise ConfigError.not_one_of("by", by, self.groupings)
        return pl.concat(
            (tally.frame(by).select(pl.lit(name).alias("predictor"), pl.all()) for name, tally in self.tallies.items()),
            how="diagonal",
        )

    def compare(self, name: str, rival: str, target: int = 0) -> DieboldMariano:
        """Test whether two predictors are equally good, by their mean pinball loss at each origin.

        With fewer than ten origins nothing is said: statistic and p-value are NaN.

        Raises
        ------
        ConfigError
            When there is no predictor of such a name; those there are are named.
        """
        for one in (name, rival):
            if one not in self.tallies:
                raise ConfigError.not_one_of("a predictor", one, self.tallies)
        first, second = (self.tallies[one].by_origin("mean_pinball")[:, target] for one in (name, rival))
        if len(first) < FEWEST_ORIGINS:
            missing = {"statistic": math.nan, "p_value": math.nan}
            return DieboldMariano(difference=float(np.nanmean(first - second)), count=len(first), **missing)
        return diebold_mariano(first, second, overlap=-(-self.horizon // self.stride))

    def comparisons(self) -> pl.DataFrame:
        """Each predictor that is no baseline beside each baseline: skill scores and the Diebold-Mariano test.

        A skill is 1 - score / score of the baseline: 0.2 is 20% better, below 0 is worse.
        """
        rows = []
        scores = self.evaluation.scores
        for number, target in enumerate(self.targets):
            for name in (name for name in self.tallies if name not in self.baselines):
                for rival in self.baselines:
                    tested = self.compare(name, rival, number)
                    own, other = scores[name][number], scores[rival][number]
                    skills = {
                        f"{column} skill": _skill(getattr(own, column), getattr(other, column))
                        for column in ("wql", "mae", "rmse", "mase", "crps")
                    }
                    rows.append(
                        {
                            "predictor": name,
                            "baseline": rival,
                            "target": target,
                            **skills,
                            "origins": tested.count,
                            "DM statistic": tested.statistic,
                            "DM p": tested.p_value,
                        }
                    )
        return pl.DataFrame(rows).fill_nan(None)

    def to_dict(self) -> dict[str, Any]:
        """Overall scores, scores by step, comparisons and PIT histograms as plain values, for JSON."""
        return {
            **self.evaluation.to_dict(),
            "stride": self.stride,
            "span": [str(time) for time in self.span],
            "windows_seen_in_training": self.seen,
            "windows_seen_in_calibration": self.calibration_seen,
            "pit": {
                name: {
                    target: [{**vars(bar), "density": bar.density} for bar in score.pit() if math.isfinite(bar.share)]
                    for target, score in zip(self.targets, scores, strict=True)
                }
                for name, scores in self.evaluation.scores.items()
            },
            "comparisons": self.comparisons().to_dicts() if self.baselines else [],
        }

    def write(self, path: Path) -> tuple[Path, Path]:
        """Write the scores beside the table of forecasts `path`: all groups as Parquet, the rest as JSON.

        Returns
        -------
        The two paths: ``<stem>.metrics.parquet`` and ``<stem>.json``.
        """
        frames = [self.metrics(by) for by in self.groupings]
        table, summary = path.with_suffix(".metrics.parquet"), path.with_suffix(".json")
        pl.concat(frames, how="diagonal").write_parquet(table)
        summary.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return table, summary


def _skill(own: float, other: float) -> float:
    return 1 - own / other if np.isfinite(other) and other > 0 else math.nan
