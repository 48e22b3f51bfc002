"""Evaluate a model on the test rows of a prepared table, beside naive baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fusecast.data.frequency import seasons_for
from fusecast.evaluation.actuals import seasonal_error
from fusecast.evaluation.baseline_comparison import BaselineComparison, compare_with_baselines
from fusecast.evaluation.baselines.registry import DEFAULT_BASELINES, NAIVE_BASELINES, build_baselines
from fusecast.evaluation.evaluate import Evaluation, ProgressCallback, evaluate
from fusecast.workflows.calibrate import predictors_to_score

if TYPE_CHECKING:
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.forecasts import Predictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.workflows.prepare import Prepared

MAX_COMPARED_WINDOWS = 2000
"""Windows of the validation rows on which a model is compared with baselines."""


def evaluate_run(
    prepared: Prepared,
    bundle: Bundle,
    predictor: EnsemblePredictor,
    *,
    raw: bool = False,
    stride: int | None = None,
    on_progress: ProgressCallback | None = None,
) -> Evaluation:
    """Return the scores of a model on the test rows, beside the last value and the seasonal naive of each season.

    On the validation rows its own quantiles are compared with baselines series by series. With a calibration the
    quantiles without it are scored too, and alone with `raw`; `stride` are the steps between cutoffs, None for the
    horizon.
    """
    panel, config, train_end = prepared.panel, prepared.config, prepared.splits.train_end
    evaluation = evaluate(
        predictors_to_score(prepared, bundle, predictor, raw=raw),
        panel,
        prepared.windows("test", config.horizon if stride is None else stride),
        train_end=train_end,
        season=seasons_for(panel.schema.frequency)[0],
        baselines=build_baselines(NAIVE_BASELINES, panel, train_end, config.horizon, config.network.quantiles),
        on_progress=on_progress,
    )
    return replace(evaluation, comparison=compare_on_validation(prepared, predictor))


def compare_on_validation(prepared: Prepared, predictor: Predictor) -> BaselineComparison | None:
    """Compare a model with the baselines of a backtest on windows of the validation rows that do not overlap.

    None where the table has none. The cost is bounded: with many windows, some are left out evenly.
    """
    panel, config, train_end = prepared.panel, prepared.config, prepared.splits.train_end
    index = prepared.windows("validation", config.horizon, align="end").thin(MAX_COMPARED_WINDOWS)
    if not len(index):
        return None
    baselines = build_baselines(DEFAULT_BASELINES, panel, train_end, config.horizon, config.network.quantiles)
    return compare_with_baselines(
        panel,
        predictor.predict(panel, index),
        {baseline.name: baseline.predict(panel, index) for baseline in baselines},
        seasonal_error(panel, train_end, seasons_for(panel.schema.frequency)[0]),
    )
