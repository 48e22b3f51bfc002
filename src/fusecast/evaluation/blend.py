"""Blend: the weight of a simple baseline in the forecasts of each series, learned from validation rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.errors.base import join_words
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.baseline_comparison import compute_window_losses
from fusecast.evaluation.baselines.registry import point_formulas
from fusecast.evaluation.baselines.simple import FittedFormula
from fusecast.inference.forecasts import Forecasts, Predictor
from fusecast.inference.model_bundle import Bundle
from fusecast.io.documents import take
from fusecast.windows.window_index import WindowIndex

GRID = tuple(round(0.1 * tenth, 1) for tenth in range(11))
"""Weights of a baseline that are tried."""
PSEUDO_HORIZONS = 4.0
"""Horizons of its own that weigh as much for a series as all series together."""
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

    def describe(self, series: Collection[str]) -> str:
        """Return which baselines have a part in the forecasts of some series, in a sentence; empty where none has."""
        parts: dict[str, list[float]] = {}
        for name, baseline, weight in zip(self.series, self.baseline, self.weight, strict=True):
            if weight > 0 and name in series:
                parts.setdefault(baseline, []).append(weight)
        if not parts:
            return ""
        mixed, several = sum(map(len, parts.values())), len(series) > 1
        words = [
            f"{baseline} ({f'{len(weights):,} series, ' if several else ''}weight {_span(weights)})"
            for baseline, weights in parts.items()
        ]
        of_series = f" of {mixed:,} of {len(series):,} series" if several else ""
        return f"The forecasts{of_series} are mixed with {join_words(words)}: only the networks' part is explained."

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

    A series whose windows fill n horizons has the pair with the least n * own + :data:`PSEUDO_HORIZONS` * common, where
    own is the log of its loss in relation to that of the network, and common the mean of this over all series. Series
    without a window, whose error scale is known, have the pair with the least common loss.
    """
    actual = gather_actuals(panel, model.series, model.cutoff, model.horizon)
    pairs = [(name, weight) for name in baselines for weight in GRID if weight or name == next(iter(baselines))]
    losses = np.array(
        [compute_window_losses(_mix(model, baselines[name], weight), actual, error_scale) for name, weight in pairs]
    )
    scored = ~np.isnan(losses[0])
    series, number = np.unique(model.series[scored], return_inverse=True)
    own = np.array([np.bincount(number, loss[scored]) for loss in losses]) / np.bincount(number)  # [pairs, series]
    horizons = count_horizons(model.series[scored], model.cutoff[scored], model.horizon)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.where(own == own[0], 1.0, own / own[0]))  # the first pair is the network alone
    ratio = ratio.clip(-np.log(LARGEST_RATIO), np.log(LARGEST_RATIO))
    common = ratio.mean(axis=1, keepdims=True)
    others = np.setdiff1d(np.flatnonzero(np.isfinite(error_scale).all(axis=1)), series) if len(series) else series
    best = np.argmin(horizons * ratio + PSEUDO_HORIZONS * common, axis=0)
    best = np.concatenate([best, np.full(len(others), np.argmin(common))])
    return Blend(
        series=tuple(panel.names[s] for s in (*series.tolist(), *others.tolist())),
        baseline=tuple(pairs[k][0] for k in best.tolist()),
        weight=tuple(pairs[k][1] for k in best.tolist()),
    )


def count_horizons(series: IntArray, cutoff: IntArray, horizon: int) -> IntArray:
    """Return how many horizons the windows of each series begin in, for the series in ascending order.

    Windows of one horizon share most of their outcomes, and are one observation.
    """
    _, number = np.unique(series, return_inverse=True)
    last = np.zeros(int(number.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(last, number, cutoff)
    return np.bincount(np.unique(np.stack([number, (last[number] - cutoff) // horizon]), axis=1)[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class BlendPart:
    """A baseline, and its weight in each series that has a part of it."""

    formula: FittedFormula  # with the spread of these series, in their order
    weight: Mapping[str, float]  # by name of the series


@dataclass(frozen=True, kw_only=True, eq=False)
class BlendedPredictor:
    """A :class:`~fusecast.inference.forecasts.Predictor` whose forecasts are mixed with those of baselines, level by
    level.
    """

    predictor: Predictor
    parts: Sequence[BlendPart]

    @property
    def name(self) -> str:
        """Return the name in tables of scores."""
        return self.predictor.name

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, in its order."""
        forecasts = self.predictor.predict(panel, index)
        quantiles = forecasts.quantiles.copy()
        for part in self.parts:
            weights = np.array([part.weight.get(name, 0.0) for name in panel.names])
            windows = (weights > 0)[forecasts.series]
            if not windows.any():
                continue
            row = {name: row for row, name in enumerate(part.weight)}
            rows = np.array([row.get(name, 0) for name in panel.names], dtype=np.int64)
            baseline = replace(part.formula, spread=part.formula.spread[rows])
            mixed = baseline.predict(panel, index.subset(weights > 0)).quantiles
            weight = weights[forecasts.series[windows]][:, None, None, None]
            quantiles[windows] = (1 - weight) * forecasts.quantiles[windows] + weight * mixed
        return replace(forecasts, quantiles=quantiles).bounded()


def _span(weights: Sequence[float]) -> str:
    low, high = min(weights), max(weights)
    return f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"


def _mix(model: Forecasts, baseline: Forecasts, weight: float) -> Forecasts:
    return replace(model, quantiles=(1 - weight) * model.quantiles + weight * baseline.quantiles).bounded()


def stored_blend(bundle: Bundle) -> Blend | None:
    """Return the blend of a bundle; None where it has none."""
    return None if bundle.extra.get(BLEND) is None else Blend.from_dict(bundle.extra[BLEND])


def with_blend(bundle: Bundle, blend: Blend, parts: Sequence[BlendPart]) -> Bundle:
    """Return a bundle that keeps a blend among its extra values, and the spreads of its baselines among its arrays."""
    arrays = dict(bundle.arrays) | {SPREAD + part.formula.name: part.formula.spread for part in parts}
    if parts:
        arrays[TYPICAL] = parts[0].formula.typical
    return replace(bundle, extra={**bundle.extra, BLEND: blend.to_dict()}, arrays=arrays)


def select_parts(blend: Blend, fitted: Sequence[FittedFormula], rows: Mapping[str, int]) -> list[BlendPart]:
    """Return the parts of a blend, of baselines `fitted` to the series whose numbers are `rows`; others have none."""
    parts = []
    for formula in fitted:
        weight = {name: weight for name, weight in _weights(blend, formula.name).items() if name in rows}
        if weight:
            spread = formula.spread[[rows[name] for name in weight]]
            parts.append(BlendPart(formula=replace(formula, spread=spread), weight=weight))
    return parts


def stored_parts(bundle: Bundle) -> list[BlendPart] | None:
    """Return the parts of the blend of a bundle; None where it has none, or is one of an earlier version, without.

    Raise a ValueError where arrays are missing, or are not those of the blend.
    """
    blend = stored_blend(bundle)
    if blend is None or (TYPICAL not in bundle.arrays and any(blend.weight)):
        return None
    config, parts = bundle.config, []
    formulas = point_formulas(bundle.preprocessor.schema.frequency, config.quantiles)
    known = {formula.name: formula for group in formulas.values() for formula in group}
    for name in sorted({name for name, weight in zip(blend.baseline, blend.weight, strict=True) if weight > 0}):
        if name not in known or SPREAD + name not in bundle.arrays:
            raise ValueError(f"there is no spread of {name!r}")
        spread, typical, weight = bundle.arrays[SPREAD + name], bundle.arrays[TYPICAL], _weights(blend, name)
        sizes = len(weight), config.num_targets, len(config.quantiles)
        if spread.ndim != 4 or not spread.shape[1] or (spread.shape[0], *spread.shape[2:]) != sizes:
            raise ValueError(f"the spread of {name!r} is that of other series or levels")
        if typical.shape != (config.num_targets,):
            raise ValueError("there are medians of other targets")
        formula = FittedFormula(name=name, formula=known[name], spread=spread, typical=typical)
        parts.append(BlendPart(formula=formula, weight=weight))
    return parts


def _weights(blend: Blend, baseline: str) -> dict[str, float]:
    """Return the weight of a baseline in each series that has a part of it."""
    of_series = zip(blend.series, blend.baseline, blend.weight, strict=True)
    return {series: weight for series, name, weight in of_series if weight > 0 and name == baseline}


BLEND = "blend"
"""Key of the blend among the extra values of a bundle."""
SPREAD, TYPICAL = "spread of ", "typical"
"""Keys among its arrays: of the spread ``[S, K, Y, Q]`` of each baseline, and of the medians ``[Y]`` of the targets."""
