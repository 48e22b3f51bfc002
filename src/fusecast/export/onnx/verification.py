"""Compare an exported graph with the forecasts of fusecast itself, on windows that are drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusecast.data.panel import Panel
from fusecast.data.schema import Kind, Role
from fusecast.data.time_grid import TimeGrid
from fusecast.evaluation.blend import BlendedPredictor
from fusecast.features.targets import COUNT_HEAD
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusecast.calibration.conformal import Conformal
    from fusecast.data.arrays import FloatArray
    from fusecast.evaluation.blend import BlendPart
    from fusecast.export.onnx.inputs import GraphInputs
    from fusecast.inference.model_bundle import Bundle

WINDOWS = 64
"""Windows that are drawn."""
SHARE_MISSING = 0.1
SHARE_OF_NEIGHBOURS = 0.002
TOLERANCE = 1e-4
"""Largest difference of a forecast, relative to itself or to the scale of its series, with which a file is written."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Differences of forecasts, relative to themselves or, where these are smaller, to the scale of their series."""

    largest: float
    mean: float
    windows: int


def compare(
    path: Path,
    inputs: GraphInputs,
    bundle: Bundle,
    conformal: Conformal | None,
    parts: Sequence[BlendPart] = (),
    seed: int = 0,
) -> Comparison:
    """Return how far the forecasts of a file are from those of a bundle's networks for the future."""
    networks = bundle.for_future
    panel, index = draw_windows(networks, bundle.extra["split"], seed)
    found = run_session(path, inputs.gather(networks.preprocessor, panel, index))["forecast"]
    expected = predict(networks, conformal, parts, panel, index)
    scale = networks.preprocessor.encode(panel).scale[index.locate(np.arange(len(index)))[0]][:, None, :, None]
    return measure(found, expected, scale, len(index), whole=networks.config.head == COUNT_HEAD)


def measure(
    found: FloatArray, expected: FloatArray, scale: FloatArray, windows: int, *, whole: bool = False
) -> Comparison:
    """Return the differences of forecasts.

    Quantiles of counts are `whole` numbers, and a level that the rounded probabilities just reach, or just miss, is
    the next one: :data:`SHARE_OF_NEIGHBOURS` of them are left out.
    """
    difference = np.abs(found - expected) / np.maximum(np.abs(expected), scale)
    if whole:
        difference = np.sort(difference, axis=None)
        difference = difference[: len(difference) - int(SHARE_OF_NEIGHBOURS * len(difference))]
    return Comparison(largest=float(difference.max()), mean=float(difference.mean()), windows=windows)


def predict(
    networks: Bundle, conformal: Conformal | None, parts: Sequence[BlendPart], panel: Panel, index: WindowIndex
) -> FloatArray:
    """Return the quantiles of the windows of an index, mixed with baselines and calibrated."""
    predictor = EnsemblePredictor.from_bundle(networks, "cpu")
    forecasts = BlendedPredictor(predictor=predictor, parts=parts).predict(panel, index)
    return (forecasts if conformal is None else conformal.apply(panel, forecasts)).quantiles


def run_session(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs of a file, by name, from ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def draw_windows(networks: Bundle, split: dict[str, Any], seed: int) -> tuple[Panel, WindowIndex]:
    """Draw a panel as the preprocessor of networks knows it, of series with gaps, some shorter than the lookback.

    It begins where the test rows of the recorded `split` do.
    """
    random, fitted, config = np.random.default_rng(seed), networks.preprocessor, networks.config
    schema, L, H = fitted.schema, networks.config.lookback, networks.config.horizon
    count = WINDOWS
    chosen = random.integers(0, len(fitted.series), count)  # one that is drawn twice has two windows of its own
    lengths = np.where(np.arange(count) % 3 == 1, random.integers(1, L + 1, count), L) + H
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    series = np.repeat(chosen, lengths)
    gaps = np.repeat(random.random(count) < 0.5, lengths) & (random.random(indptr[-1]) < SHARE_MISSING)
    reals: dict[str, FloatArray] = {}
    for name, scales in fitted.scales.items():
        center, scale = scales.at(series)
        values = center + scale * random.normal(size=len(series))
        if name in schema.targets:
            y = schema.targets.index(name)
            values = fitted.targets.invert(np.repeat(values[:, None], len(schema.targets), axis=1))[:, y]
            if config.head == COUNT_HEAD:
                values = np.rint(np.maximum(values, 0))
        reals[name] = np.where(gaps, np.nan, values)
    levels = {name: fitted.vocabularies[name] for name in _names(fitted, Kind.CATEGORICAL)}
    varying = {name: random.integers(-1, len(levels[name]), indptr[-1], dtype=np.int32) for name in levels}
    statics = schema.names(Role.STATIC, Kind.REAL)
    pairs = {name: fitted.static_scales[name] for name in statics}
    is_integer = schema.frequency.endswith("i")
    dtype = "int64" if is_integer else "datetime[us]"
    grid = TimeGrid(frequency=schema.frequency, time_zone=schema.time_zone, month_day=schema.month_day, dtype=dtype)
    panel = Panel(
        schema=schema,
        time_grid=grid,
        ids=np.array([fitted.series[s] for s in chosen.tolist()]),
        indptr=indptr,
        start=np.full(count, max(split["test"], default=0), dtype=np.int64),
        reals=reals,
        categories={name: varying[name] for name in levels if name not in schema.names(Role.STATIC)},
        static_reals={
            name: pairs[name].pooled_center + pairs[name].pooled_scale * random.normal(size=count) for name in statics
        },
        static_categories={name: varying[name][:count] for name in levels if name in schema.names(Role.STATIC)},
        levels=levels,
    )
    return panel, WindowIndex.at_end(lengths=lengths - H, lookback=L, horizon=H)


def _names(fitted: Any, kind: Kind) -> tuple[str, ...]:
    return tuple(name for role in (Role.OBSERVED, Role.KNOWN, Role.STATIC) for name in fitted.schema.names(role, kind))
