"""Blend: the weight of a simple baseline in the forecasts of each series, learned from validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fusecast.data.arrays import FloatArray
from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.baseline_comparison import compute_window_losses
from fusecast.evaluation.baselines.simple import FittedFormula
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.model_bundle import Bundle
from fusecast.io.documents import take
from fusecast.windows.window_index import WindowIndex

GRID = tuple(round(0.1 * tenth, 1) for tenth in range(11))
"""Weights of a baseline that are tried."""
PSEUDO_WINDOWS = 4.0
"""Windows of its own that weigh as much for a series as all series together."""
LARGEST_RATIO = 10.0
"""Factor by which a mixture may be better or worse than the network at most; more counts as this."""


@dataclass(frozen=True, kw_only=True)
class Blend:
    """The baseline of each series, and its weight; the network has the rest. Other series have the network alone."""

    series: tuple[str, ...]
    baseline: tuple[str, ...]  # names as in tables of scores
    weight: tuple[float, ...]

    @property
    def summary(self) -> str:
        """What was chosen, in words."""
        count = sum(weight > 0 for weight in self.weight)
        mean = float(np.mean(self.weight)) if self.weight else 0.0
        return f"blend: {count:,} of {len(self.weight):,} series with a baseline, of mean weight {mean:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {name: list(values) for name, values in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return what :meth:`to_dict` describes; raise a ValueError where it describes none."""
        names, baselines = (tuple(take(values, name, list, items=str)) for name in ("series", "baseline"))
        weights = tuple(take(values, "weight", list, items=float))
        if not len(names) == len(baselines) == len(weights) or not all(0 <= weight <= 1 for weight in weights):
            raise ValueError("weights must lie in [0, 1], and be as many as series")
        return cls(series=names, baseline=baselines, weight=weights)


def learn_blend(panel: Panel, model: Forecasts, baselines: Mapping[str, Forecasts], error_scale: FloatArray) -> Blend:
    """Choose a baseline and its weight for each series, by the scaled quantile loss of mixtures in the same windows.

    A series with n windows has the pair with the least n * own + :data:`PSEUDO_WINDOWS` * common, where own is the log
    of its loss in relation to that of the network, and common the mean of this over all series.
    """
    actual = gather_actuals(panel, model.series, model.cutoff, model.horizon)
    pairs = [(name, weight) for name in baselines for weight in GRID if weight or name == next(iter(baselines))]
    losses = np.array(
        [compute_window_losses(_mix(model, baselines[name], weight), actual, error_scale) for name, weight in pairs]
    )
    scored = ~np.isnan(losses[0])
    series, number = np.unique(model.series[scored], return_inverse=True)
    count = np.bincount(number)
    own = np.array([np.bincount(number, loss[scored]) / count for loss in losses])  # [pairs, series]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.where(own == own[0], 1.0, own / own[0]))  # the first pair is the network alone
    ratio = ratio.clip(-np.log(LARGEST_RATIO), np.log(LARGEST_RATIO))
    best = np.argmin(count * ratio + PSEUDO_WINDOWS * ratio.mean(axis=1, keepdims=True), axis=0)
    return Blend(
        series=tuple(panel.names[s] for s in series.tolist()),
        baseline=tuple(pairs[k][0] for k in best.tolist()),
        weight=tuple(pairs[k][1] for k in best.tolist()),
    )


class BlendedPredictor(EnsemblePredictor):
    """The networks of a bundle, whose forecasts are mixed with those of baselines, level by level.

    Explanations are those of the networks. Other quantile levels than the network's are interpolated.
    """

    def __init__(self, networks: EnsemblePredictor, panel: Panel, baselines: Sequence[FittedFormula], blend: Blend):
        self.__dict__.update(vars(networks))
        self._names, self._blend = panel.names, blend
        self._baselines = {baseline.name: baseline for baseline in baselines}

    @property
    def supports_any_level(self) -> bool:
        """Whether there are quantiles at any level without interpolation."""
        return False

    def predict(
        self, source: Panel | EncodedPanel, index: WindowIndex, levels: Sequence[float] | None = None
    ) -> Forecasts:
        """Forecast every window of an index, in its order, from a panel, or one encoded by the preprocessor."""
        forecasts = super().predict(source, index, levels)
        panel = source if isinstance(source, Panel) else source.panel
        assert panel is not None
        position = {name: i for i, name in enumerate(self._names)}
        chosen = {
            name: (baseline, weight)
            for name, baseline, weight in zip(self._blend.series, self._blend.baseline, self._blend.weight, strict=True)
            if weight > 0 and name in position and baseline in self._baselines
        }
        weights = np.array([chosen.get(name, ("", 0.0))[1] for name in panel.names])
        rows = np.array([position.get(name, 0) for name in panel.names], dtype=np.int64)
        quantiles = forecasts.quantiles.copy()
        for name in dict.fromkeys(baseline for baseline, _ in chosen.values()):
            mask = np.array([chosen.get(each, ("", 0.0))[0] == name for each in panel.names])
            windows = mask[forecasts.series]
            if not windows.any():
                continue
            baseline = replace(self._baselines[name], spread=self._baselines[name].spread[rows])
            mixed = baseline.predict(panel, index.subset(mask)).quantiles
            weight = weights[forecasts.series[windows]][:, None, None, None]
            quantiles[windows] = (1 - weight) * forecasts.quantiles[windows] + weight * mixed
        return replace(forecasts, quantiles=quantiles).bounded()


def _mix(model: Forecasts, baseline: Forecasts, weight: float) -> Forecasts:
    return replace(model, quantiles=(1 - weight) * model.quantiles + weight * baseline.quantiles).bounded()


def with_blend(bundle: Bundle, blend: Blend) -> Bundle:
    """Return a bundle that keeps a blend among its extra values."""
    return replace(bundle, extra={**bundle.extra, BLEND: blend.to_dict()})


BLEND = "blend"
"""Key of the blend among the extra values of a bundle."""
