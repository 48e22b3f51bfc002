"""A model on the test span of a prepared table: how good it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fusecast.data.frequency import seasons_for
from fusecast.evaluation.baselines.seasonal_naive import naive_baselines_for
from fusecast.evaluation.evaluate import Evaluation, evaluate
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.predictor import Predictor
from fusecast.workflows.prepare import Prepared

Progress = Callable[[int, int], None]
"""Called with what is done and what there is."""


def evaluate_run(
    prepared: Prepared,
    predictor: NetworkPredictor,
    *,
    beside: Sequence[Predictor] = (),
    stride: int | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Score a model on the test span beside the last value and the seasonal naive of every usual season.

    `stride` is the number of steps between cutoffs; None is the horizon, so that each step is forecast once. Models
    `beside` it, such as the calibrated one, come after it.
    """
    panel, config, train_end = prepared.panel, prepared.config, prepared.parts.train_end
    return evaluate(
        [predictor, *beside],
        panel,
        prepared.windows("test", config.horizon if stride is None else stride),
        train_end=train_end,
        season=seasons_for(panel.schema.frequency)[0],
        baselines=naive_baselines_for(panel, train_end, config.horizon, config.network.quantiles),
        on_progress=on_progress,
    )
