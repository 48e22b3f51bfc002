"""Evaluate a model on the test rows of a prepared table, beside naive baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusecast.data.frequency import seasons_for
from fusecast.evaluation.baselines.registry import NAIVE_BASELINES, build_baselines
from fusecast.evaluation.evaluate import Evaluation, ProgressCallback, evaluate
from fusecast.workflows.calibrate import predictors_to_score

if TYPE_CHECKING:
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.workflows.prepare import Prepared


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

    With a calibration the quantiles without it are scored too, and alone with `raw`; `stride` are the steps between
    cutoffs, None for the horizon.
    """
    panel, config, train_end = prepared.panel, prepared.config, prepared.splits.train_end
    return evaluate(
        predictors_to_score(prepared, bundle, predictor, raw=raw),
        panel,
        prepared.windows("test", config.horizon if stride is None else stride),
        train_end=train_end,
        season=seasons_for(panel.schema.frequency)[0],
        baselines=build_baselines(NAIVE_BASELINES, panel, train_end, config.horizon, config.network.quantiles),
        on_progress=on_progress,
    )
