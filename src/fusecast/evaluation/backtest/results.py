"""Backtest: the scores of rolling forecasts, overall and by group, and comparisons with the baselines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fusecast.display.card import build_card, list_names
from fusecast.display.plottable import Plottable
from fusecast.errors import ArtifactError, ConfigError
from fusecast.evaluation.breakdown import GroupedScores
from fusecast.evaluation.evaluate import Evaluation, compute_skill
from fusecast.evaluation.significance import DieboldMariano, diebold_mariano
from fusecast.io.atomic import compute_checksum, replace_file

MIN_ORIGINS = 10  # that a Diebold-Mariano test needs: with fewer, the variance of the differences is too uncertain


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Backtest(Plottable):
    """The scores of a backtest, and its table of forecasts."""

    targets: tuple[str, ...]  # names, Y
    season: int  # steps of a season, for MASE and RMSSE
    windows: int  # W, the windows that are scored
    horizon: int  # H, the steps of each
    stride: int  # steps between origins
    span: tuple[datetime | date | int, datetime | date | int]  # times of the first and the last step forecast
    grouped_scores: Mapping[str, GroupedScores]  # name of the predictor -> its scores
    baselines: tuple[str, ...]  # names of the predictors that the others are compared with
    windows_seen_in_training: int = 0  # of steps that the model was trained on or chosen by: their scores are too good
    series_without_training_rows: int = 0  # series evaluated of which the table holds no training row
    path: Path | None = None  # the long table of forecasts; None where it is in `table`
    table: pl.DataFrame | None = None  # the long table of forecasts, where no file was requested

    def __repr__(self) -> str:
        return (
            f"Backtest(predictors={list(self.grouped_scores)}, targets={list(self.targets)}, windows={self.windows}, "
            f"horizon={self.horizon}, stride={self.stride}, span={self.span[0]} to {self.span[1]})"
        )

    def _repr_html_(self) -> str:
        facts = {
            "windows": f"{self.windows:,}, {self.stride:,} steps apart, of {self.horizon:,} steps",
            "steps forecast": f"{self.span[0]} to {self.span[1]}",
            "target": list_names(self.targets),
            "forecasts": "in memory" if self.path is None else self.path.name,
        }
        seen = self.windows_seen_in_training
        note = f"{seen:,} windows lie in the training span: their scores are too good." if seen else ""
        columns, rows = self.evaluation.summarize()
        return build_card("Backtest", facts, columns=columns, rows=rows, note=note or self.evaluation.note)

    def scan(self) -> pl.LazyFrame:
        """Return the table of forecasts, from its file where it is in one: one row a predictor, window and step.

        Raise an ArtifactError where that file is no longer there.
        """
        if self.table is not None:
            return self.table.lazy()
        if self.path is None or not self.path.is_file():
            raise ArtifactError.missing(self.path, "the table of forecasts of this backtest")
        return pl.scan_parquet(self.path)

    @property
    def groupings(self) -> tuple[str, ...]:
        """The groupings of :meth:`metrics`: all, series, step, those of the calendar, origin."""
        return tuple(next(iter(self.grouped_scores.values())).groupings)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The scores over everything, as `evaluate` returns them, skill against the best baseline included."""
        return Evaluation(
            targets=self.targets,
            season=self.season,
            windows=self.windows,
            horizon=self.horizon,
            scores={name: grouped.scores() for name, grouped in self.grouped_scores.items()},
            baselines=self.baselines,
            series_without_training_rows=self.series_without_training_rows,
        )

    def metrics(self, by: str = "all") -> pl.DataFrame:
        """Return every score of every predictor, one row a predictor, group and target.

        Columns: predictor, by, group, target, count, then the scores of :class:`Scores`; scores by level or interval
        have a column each, such as ``pinball 0.9`` and ``coverage 0.8``.

        Raises
        ------
        ConfigError
            When there is no such grouping; the available ones are listed.
        """
        if by not in self.groupings:
            raise ConfigError.not_one_of("by", by, self.groupings)
        frames = [
            grouped.to_frame(by).select(pl.lit(name).alias("predictor"), pl.all())
            for name, grouped in self.grouped_scores.items()
        ]
        return pl.concat(frames, how="diagonal")

    def compare(self, name: str, other: str, target: int = 0) -> DieboldMariano:
        """Test whether the predictors `name` and `other` are equally good, by their mean pinball loss at each origin.

        `target` is the position of a target, from 0.
        With fewer than ten origins there is no test: statistic and p-value are NaN.

        Raises
        ------
        ConfigError
            When there is no predictor of such a name; the available ones are listed.
        """
        for predictor in (name, other):
            if predictor not in self.grouped_scores:
                raise ConfigError.not_one_of("a predictor", predictor, self.grouped_scores)
        first, second = (
            self.grouped_scores[predictor].column("origin", "mean_pinball")[:, target] for predictor in (name, other)
        )
        if len(first) < MIN_ORIGINS:
            difference = float(np.nanmean(first - second))
            return DieboldMariano(statistic=math.nan, p_value=math.nan, difference=difference, count=len(first))
        return diebold_mariano(first, second, overlap=math.ceil(self.horizon / self.stride))

    def comparisons(self) -> pl.DataFrame:
        """Return the skill scores and the Diebold-Mariano test of each predictor against each baseline.

        A skill is 1 - score / score of the baseline: 0.2 is 20% better, below 0 is worse.
        """
        rows: list[dict[str, Any]] = []
        predictors = [name for name in self.grouped_scores if name not in self.baselines]
        for (y, target), name, baseline in product(enumerate(self.targets), predictors, self.baselines):
            scores, reference = (self.evaluation.scores[one][y] for one in (name, baseline))
            row: dict[str, Any] = {"predictor": name, "baseline": baseline, "target": target}
            for column in ("wql", "mae", "rmse", "mase", "crps"):
                row[f"{column} skill"] = compute_skill(getattr(scores, column), getattr(reference, column))
            test = self.compare(name, baseline, y)
            rows.append(row | {"origins": test.count, "DM statistic": test.statistic, "DM p": test.p_value})
        return pl.DataFrame(rows).fill_nan(None)

    def to_dict(self) -> dict[str, Any]:
        """Return overall scores, comparisons and PIT histograms as plain values, for JSON."""
        return {
            **self.evaluation.to_dict(),
            "stride": self.stride,
            "span": [str(time) for time in self.span],
            "windows_seen_in_training": self.windows_seen_in_training,
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

        The JSON file has the checksums of the two tables.

        Returns
        -------
        The two paths: ``<stem>.metrics.parquet`` and ``<stem>.json``.
        """
        table, summary = path.with_suffix(".metrics.parquet"), path.with_suffix(".json")
        with replace_file(summary) as new_summary, replace_file(table) as new_table:
            pl.concat([self.metrics(by) for by in self.groupings], how="diagonal").write_parquet(new_table)
            checksums = {table.name: compute_checksum(new_table)}
            if path.is_file():
                checksums[path.name] = compute_checksum(path)
            text = json.dumps({**self.to_dict(), "sha256": checksums}, indent=2, allow_nan=False)
            new_summary.write_text(f"{text}\n", encoding="utf-8")
        return table, summary
