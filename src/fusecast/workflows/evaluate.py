"""Evaluate a model on test rows, beside simple baselines; compare it with them, or mix it, by the validation rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.frequency import seasons_for
from fusecast.errors import DataWarning
from fusecast.errors.base import warn
from fusecast.evaluation.actuals import seasonal_error
from fusecast.evaluation.baseline_comparison import BaselineComparison, compare_with_baselines
from fusecast.evaluation.baselines.registry import NAIVE_BASELINES, build_baselines
from fusecast.evaluation.blend import learn_blend, select_parts, with_blend
from fusecast.evaluation.evaluate import Evaluation, ProgressCallback, evaluate
from fusecast.features.targets import warn_below_bound
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.workflows.calibrate import fit_formulas, mix_in_baselines, predictors_to_score

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.inference.forecasts import Predictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.windows.window_index import WindowIndex
    from fusecast.workflows.prepare import Prepared

MAX_COMPARED_WINDOWS = 2000
"""Windows of the validation rows on which a model is compared with baselines (more where there are more series), or
mixed with them."""


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
    horizon. Values below the lower bound of the forecasts are counted in a DataWarning.
    """
    panel, config, train_end = prepared.panel, prepared.config, prepared.splits.train_end
    index = prepared.windows("test", config.horizon if stride is None else stride)
    warn_of_values_below_bound(panel, index, predictor)
    evaluation = evaluate(
        predictors_to_score(prepared, bundle, predictor, raw=raw),
        panel,
        index,
        train_end=train_end,
        season=seasons_for(panel.schema.frequency)[0],
        baselines=build_baselines(NAIVE_BASELINES, panel, train_end, config.horizon, config.network.quantiles),
        on_progress=on_progress,
    )
    if not any(each.count for scores in evaluation.scores.values() for each in scores):
        warn(DataWarning.nothing_to_score(panel.schema.targets))
    mixed = mix_in_baselines(prepared, bundle, predictor)
    return replace(evaluation, comparison=compare_on_validation(prepared, mixed))


def warn_of_values_below_bound(panel: Panel, index: WindowIndex, predictor: EnsemblePredictor) -> None:
    """Warn of values that are forecast in windows of an index, and are below the lower bound of the forecasts."""
    has_windows = index.counts > 0
    end = np.where(has_windows, index.last_cutoff + index.horizon, 0)
    begin = np.where(has_windows, index.first_cutoff, 0)
    warn_below_bound(panel, predictor.lowest, begin, end)


def compare_on_validation(prepared: Prepared, predictor: Predictor) -> BaselineComparison | None:
    """Compare a model with the baselines of a backtest on windows of the validation rows that do not overlap.

    None where the table has none. With many windows, some are left out evenly; each series keeps one.
    """
    panel, config, train_end = prepared.panel, prepared.config, prepared.splits.train_end
    index = prepared.windows("validation", config.horizon, align="end")
    if not len(index):
        return None
    index = index.thin(max(MAX_COMPARED_WINDOWS, int((index.counts > 0).sum())))
    return compare_with_baselines(
        panel,
        predictor.predict(panel, index),
        {baseline.name: baseline.predict(panel, index) for baseline in fit_formulas(prepared)},
        seasonal_error(panel, train_end, seasons_for(panel.schema.frequency)[0]),
    )


def blend_bundle(bundle: Bundle, prepared: Prepared) -> tuple[Bundle, str]:
    """Return a bundle with the weights of baselines that suit the validation rows, and what was chosen, in words."""
    index = prepared.windows("validation").thin(MAX_COMPARED_WINDOWS)
    if not len(index):
        return bundle, "blend: there are no validation rows, so that forecasts are those of the network"
    device = "cpu" if prepared.config.training.accelerator == "cpu" else None
    panel, train_end = prepared.panel, prepared.splits.train_end
    model = EnsemblePredictor.from_bundle(bundle, device).predict(prepared.encoded, index)
    formulas = fit_formulas(prepared)
    baselines = {each.name: each.predict(panel, index) for each in formulas}
    scale = seasonal_error(panel, train_end, seasons_for(panel.schema.frequency)[0])
    blend = learn_blend(panel, model, baselines, scale)
    parts = select_parts(blend, formulas, {name: row for row, name in enumerate(panel.names)})
    return with_blend(bundle, blend, parts), blend.summary
