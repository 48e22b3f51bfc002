"""ONNX Runtime forecasts what `Forecaster.predict` forecasts, whatever the table, head, members and calibration."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import nbinom
from tests.helpers.tables import TINY

from fusecast import Forecaster
from fusecast.calibration.conformal import Conformal
from fusecast.data.future import extend_panel
from fusecast.data.splits import record_ends, record_split
from fusecast.evaluation.blend import Blend, select_parts, with_blend
from fusecast.export.onnx.export import export_onnx
from fusecast.export.onnx.inputs import GraphInputs
from fusecast.export.onnx.quantiles import MOST_COUNTED, count_quantiles
from fusecast.export.onnx.verification import measure, run_session
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.model_bundle import Bundle, Member
from fusecast.io.tables import read_table
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import CALIBRATION, CALIBRATION_AHEAD, fit_formulas
from fusecast.workflows.prepare import prepare

HORIZON, LOOKBACK, STEPS = 3, 10, 60
EVERYTHING: dict[str, Any] = {
    "static": ["size", "city"],
    "known": ["price", "promotion"],
    "observed": ["visitors", "weather"],
    "target": ["y", "z"],
}
CASES: dict[str, dict[str, Any]] = {
    "a target alone": {},
    "one series": {"series": 1},
    "statics": {"static": ["size", "city"]},
    "known": {"known": ["price", "promotion"]},
    "observed": {"observed": ["visitors", "weather"]},
    "everything": EVERYTHING,
    "everything, with holes": {**EVERYTHING, "holes": 0.2},
    "short series": {**EVERYTHING, "short": True},
    "log1p": {"features": {"target_transform": "log1p"}, "holes": 0.1},
    "asinh": {"features": {"target_transform": "asinh", "target_scaling": "robust"}, "holes": 0.1},
    "no scaling": {"features": {"target_scaling": "none", "window_scaling": "none", "covariate_scaling": "none"}},
    "one level": {"network": {"quantiles": [0.5]}, "members": ["mean", "none"], "calibration": "cqr"},
    "levels without a median": {"network": {"quantiles": [0.2, 0.4, 0.9]}, "calibration": "split"},
    "integer steps": {**EVERYTHING, "frequency": "1i"},
    "months": {"frequency": "1mo", "known": ["price"]},
    "half hours": {"frequency": "30m"},
    "a zone": {"zone": "Europe/Berlin", "features": {"calendar": ["hour", "day_of_week"]}},
    "days and holidays": {"frequency": "1d", "features": {"country": ["DE"]}},
    "members": {**EVERYTHING, "members": ["mean", "last", "season", "none"], "holes": 0.1},
    "members with one bound": {"features": {"lower_bound": 0.5}, "members": ["mean", "last"]},
    "cqr": {**EVERYTHING, "calibration": "cqr", "members": ["mean", "last"]},
    "split": {"calibration": "split", "features": {"lower_bound": 0.0}},
    "adaptive": {"calibration": "adaptive"},
    "normal": {"network": {"head": "normal"}, "members": ["mean", "none"], "calibration": "cqr"},
    "student_t": {"network": {"head": "student_t"}},
    "tweedie": {"network": {"head": "tweedie"}, "features": {"window_scaling": "none"}},
    "counts": {"network": {"head": "negative_binomial", "quantiles": [0.05, 0.5, 0.95]}, "holes": 0.1},
    "counts, members, calibrated": {
        "network": {"head": "negative_binomial"},
        "members": ["mean", "season"],
        "calibration": "cqr",
    },
    "blended": {
        **EVERYTHING,
        "blend": ["last value", "seasonal naive 24"],
        "holes": 0.2,
        "calibration": "cqr",
    },
    "blended, short": {"blend": ["seasonal mean 24", "drift"], "holes": 0.5, "short": True},
    "blended, one of days": {"series": 1, "frequency": "1d", "blend": ["seasonal naive 7"], "short": True},
    "blended, bounded": {"blend": ["drift"] * 2, "features": {"lower_bound": 0.5}, "members": ["mean", "last"]},
    "blended, integers": {"frequency": "1i", "blend": ["mean of 4 values", "last value"], "holes": 0.3},
    "two LSTM layers": {**EVERYTHING, "network": {"num_lstm_layers": 2}, "short": True},
    "no position": {"features": {"relative_position": False, "series_embedding": False, "calendar": []}},
}


START = datetime(2023, 12, 20)


def draw_table(case: dict[str, Any], random: np.random.Generator) -> pl.DataFrame:
    frequency, frames = case.get("frequency", "1h"), []
    for s in range(case.get("series", 3)):
        steps = STEPS - (25 if case.get("short") and s else 0)
        times: list[Any] = {
            "1h": lambda t: START + timedelta(hours=t),
            "30m": lambda t: START + timedelta(minutes=30 * t),
            "1d": lambda t: date(2023, 12, 20) + timedelta(days=t),
            "1mo": lambda t: date(2010 + t // 12, t % 12 + 1, 1),
            "1i": lambda t: t,
        }[frequency]
        y = 50.0 * (s + 1) + 20 * random.normal(size=steps)
        frames.append(
            pl.DataFrame(
                {
                    "unique_id": [f"shop {s}"] * steps,
                    "ds": [times(t) for t in range(steps)],
                    "y": np.abs(y),
                    "z": 1e6 + random.normal(size=steps),
                    "size": [10.0 * s + 1] * steps,
                    "city": [["Bonn", "Lyon"][s % 2]] * steps,
                    "price": random.gamma(2.0, size=steps),
                    "promotion": random.choice(["no", "half", "whole"], steps).tolist(),
                    "visitors": 1000 + 5 * random.normal(size=steps),
                    "weather": random.choice(["sun", "rain"], steps).tolist(),
                }
            )
        )
    table = pl.concat(frames)
    if case.get("zone"):
        table = table.with_columns(pl.col("ds").dt.replace_time_zone("UTC").dt.convert_time_zone(case["zone"]))
    for name in ("y", "z", "visitors", "weather", "price") if case.get("holes") else ():
        hole = pl.Series(random.random(len(table)) < case["holes"])
        table = table.with_columns(pl.when(hole).then(None).otherwise(name).alias(name))
    if case.get("network", {}).get("head") == "negative_binomial":
        table = table.with_columns(y=(pl.col("y") / 20).round())
    if case.get("network", {}).get("head") == "tweedie":
        table = table.with_columns(y=pl.when(pl.col("y") < 60).then(0.0).otherwise("y"))
    return table


def make_bundle(case: dict[str, Any], table: pl.DataFrame) -> tuple[Forecaster, Bundle]:
    """Return networks of random weights, which need no training, and a forecaster around them."""
    roles = {name: case[name] for name in ("static", "known", "observed", "target") if name in case}
    options = {name: case[name] for name in ("features",) if name in case}
    network = {"hidden_size": 8, "num_heads": 2, **case.get("network", {})}
    frequency = {"frequency": case["frequency"]} if "frequency" in case else {}
    model = Forecaster(HORIZON, LOOKBACK, **roles, **frequency, **{**TINY, "network": network}, **options)
    prepared = prepare(table, model.config)
    torch.manual_seed(0)
    scalings = case.get("members", [prepared.preprocessor.config.window_scalings[0]])
    members = [Member(TemporalFusionTransformer(prepared.model_config).eval(), scaling) for scaling in scalings]
    extra: dict[str, Any] = {"run": prepared.config.to_dict(), "split": record_split(prepared.panel, prepared.splits)}
    if (method := case.get("calibration")) is not None:
        levels, targets = prepared.config.network.quantiles, len(prepared.panel.schema.targets)
        shifts = np.random.default_rng(1).normal(size=(HORIZON, targets, len(levels))) * 0.3
        scales = {name: tuple(2.0 + s for _ in range(targets)) for s, name in enumerate(prepared.preprocessor.series)}
        conformal = Conformal(
            method=method, levels=levels, shifts=shifts, scales=scales, usual=(1.5,) * targets, windows=1
        ).to_dict()
        ahead = {"shifts": conformal["shifts"], "windows": 1, **record_ends(prepared.panel)}
        extra |= {CALIBRATION: conformal, CALIBRATION_AHEAD: ahead}
    bundle = Bundle(members=tuple(members), preprocessor=prepared.preprocessor, extra=extra)
    if "blend" in case:  # the baselines of the first series; others have the networks alone
        names = prepared.panel.names[: len(case["blend"])]
        weight = tuple(0.3 + 0.3 * s for s in range(len(names)))
        blend = Blend(series=tuple(names), baseline=tuple(case["blend"]), weight=weight)
        rows = {each: row for row, each in enumerate(prepared.panel.names)}
        bundle = with_blend(bundle, blend, select_parts(blend, fit_formulas(prepared), rows))
    model = Forecaster.from_config(prepared.config)
    model._bundle, model._prepared, model._source = bundle, prepared, table
    return model, bundle


def draw_future(table: pl.DataFrame, model: Forecaster, random: np.random.Generator) -> pl.DataFrame | None:
    known = model.config.table.known
    if not known:
        return None
    panel = model.prepared.panel
    series = np.repeat(np.arange(panel.num_series), HORIZON)
    times = panel.times_at(series, (panel.lengths[:, None] + np.arange(HORIZON)).ravel())
    plan = pl.DataFrame({**panel.ids_of(series), "ds": times})
    rows = table.select(known).drop_nulls().sample(len(plan), with_replacement=True, seed=3)
    return pl.concat([plan, rows], how="horizontal")


@pytest.mark.parametrize("name", CASES)
def test_forecasts_are_those_of_fusecast(name: str, tmp_path: Path) -> None:
    case, random = CASES[name], np.random.default_rng(len(name))
    table = draw_table(case, random)
    model, bundle = make_bundle(case, table)
    future = draw_future(table, model, random)
    exported = export_onnx(tmp_path / "model.onnx", bundle, explain=name in ("everything", "members", "one series"))
    assert exported.difference.largest < 1e-4

    plan = None if future is None else read_table(future, keys=("unique_id",))
    panel = extend_panel(model.prepared.panel, HORIZON, plan, None)
    index = WindowIndex.at_end(lengths=panel.lengths - HORIZON, lookback=LOOKBACK, horizon=HORIZON)
    read = GraphInputs.of(bundle.preprocessor, has_history="blend" in case)
    inputs = read.gather(bundle.preprocessor, panel, index)
    found = run_session(tmp_path / "model.onnx", inputs)
    expected = model.predict(future)
    targets = model.config.table.target
    columns = [
        f"{target}:q{level:g}" if len(targets) > 1 else f"q{level:g}"
        for target in targets
        for level in bundle.config.quantiles
    ]
    values = expected.select(columns).to_numpy().reshape(len(index), HORIZON, len(targets), -1)
    scale = bundle.preprocessor.encode(panel).scale[:, None, :, None]
    whole = bundle.config.head == "negative_binomial"
    assert measure(found["forecast"], values, scale, len(index), whole=whole).largest < 1e-4
    if len(found) > 1:
        outputs = EnsemblePredictor.from_bundle(bundle, "cpu").outputs(bundle.preprocessor.encode(panel), index)
        _, _, output = next(iter(outputs))
        assert set(found) - {"forecast"} == {
            each
            for each in ("static_weights", "past_weights", "future_weights", "attention")
            if getattr(output, each).numel()
        }
        for each in set(found) - {"forecast"}:
            np.testing.assert_allclose(found[each], getattr(output, each).numpy(), atol=1e-5)
    one = {each: array[:1] for each, array in inputs.items()}  # any number of windows
    np.testing.assert_allclose(run_session(tmp_path / "model.onnx", one)["forecast"], found["forecast"][:1], rtol=1e-6)


def test_quantiles_of_counts_are_those_of_scipy_and_nan_beyond_those_that_are_summed() -> None:
    random = np.random.default_rng(0)
    mean, dispersion = np.exp(random.uniform(-6, 7, 400)), np.exp(random.uniform(-5, 1.5, 400))
    levels = [0.01, 0.3, 0.5, 0.9, 0.99]
    found = count_quantiles(torch.from_numpy(mean), torch.from_numpy(dispersion), levels).numpy()
    size = 1 / dispersion[:, None]
    expected = nbinom.ppf(levels, size, size / (size + mean[:, None]))
    assert (expected > MOST_COUNTED).sum() > 5
    np.testing.assert_array_equal(found, np.where(expected > MOST_COUNTED, np.nan, expected))
    broken = count_quantiles(torch.tensor([torch.nan, torch.inf, 1.0]), torch.tensor([1.0, 1.0, torch.nan]), levels)
    assert broken.isnan().all()
