"""Realistic data of a report, invented: hourly series with a daily and a weekly cycle."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from fusecast.data.quality import QualityCheck
from fusecast.evaluation.breakdown import ScoreBreakdown, SeriesScores
from fusecast.evaluation.evaluate import Evaluation
from fusecast.evaluation.metrics import Scores, score
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.importance import Importance
from fusecast.explain.permutation import Agreement, compare_importances
from fusecast.reporting.report_data import (
    FanForecast,
    ForecastPlot,
    ReportData,
    Timeline,
    TrainingCurves,
)

LEVELS = (0.1, 0.5, 0.9)
HORIZON, LOOKBACK = 24, 168


def rentals(hours: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    day = 60 + 190 * np.exp(-0.5 * ((t % 24 - 17.5) / 2.2) ** 2) + 130 * np.exp(-0.5 * ((t % 24 - 8) / 1.2) ** 2)
    night = np.where((t % 24) < 6, 0.15, 1.0)
    weekend = np.where((t // 24) % 7 >= 5, 0.7, 1.0)
    return np.maximum(0, day * night * weekend * (1 + 0.15 * rng.normal(size=hours)) + rng.normal(0, 8, hours))


def forecast_plot(name: str, seed: int, target: str = "y") -> ForecastPlot:
    y = rentals(240, seed)
    times = np.datetime64("2012-12-22T00") + np.arange(264).astype("timedelta64[h]")
    rng = np.random.default_rng(seed + 1000)

    def forecast(start: int, label: str) -> FanForecast:
        middle = rentals(264, seed + 7)[start : start + HORIZON] * rng.uniform(0.93, 1.05)
        spread = 0.12 * middle + 14 + np.arange(HORIZON) * 0.5
        quantiles = np.maximum(0, np.stack([middle - spread, middle, middle + 1.2 * spread], axis=1))
        return FanForecast(times=times[start : start + HORIZON], quantiles=quantiles, levels=LEVELS, name=label)

    return ForecastPlot(
        series=name,
        target=target,
        times=times[:240],
        actual=y,
        forecasts=(forecast(216, "test"), forecast(240, "next 24 h")),
    )


def evaluation(targets: tuple[str, ...] = ("y",), model_error: float = 30.0, calibrated: bool = False) -> Evaluation:
    rng = np.random.default_rng(0)
    truth = np.stack([rentals(60 * HORIZON, 3).reshape(60, HORIZON)] * len(targets), axis=-1)

    def of(error: float, width: float) -> tuple[Scores, ...]:
        middle = truth + rng.normal(0, error, truth.shape)
        quantiles = middle[..., None] + np.array([-width, 0.0, width])
        return score(quantiles, truth, LEVELS, np.full((60, len(targets)), 45.0))

    return Evaluation(
        targets=targets,
        season=24,
        windows=1460,
        horizon=HORIZON,
        scores={
            "TFT": of(model_error, 40),
            **({"TFT raw": of(model_error, 39)} if calibrated else {}),
            "last value": of(120, 150),
            "seasonal naive 24": of(62, 70),
            "seasonal naive 168": of(48, 66),
        },
        baselines=("last value", "seasonal naive 24", "seasonal naive 168"),
    )


def importances() -> list[Importance]:
    shares = {
        "static": {"shop": 0.71, "size": 0.29},
        "past": {
            "y": 0.34, "hour": 0.19, "temp": 0.12, "workingday": 0.09, "day of week": 0.08, "hum": 0.06,
            "relative position": 0.05, "weather": 0.04, "windspeed": 0.02, "holiday": 0.01,
        },
        "future": {"hour": 0.48, "workingday": 0.21, "day of week": 0.14, "relative position": 0.12, "holiday": 0.05},
    }  # fmt: skip
    return [
        Importance(group=group, variable=name, mean=mean, p10=0.55 * mean, p50=0.96 * mean, p90=1.5 * mean)
        for group, by_name in shares.items()
        for name, mean in by_name.items()
    ]


def attention() -> AttentionProfile:
    position = np.arange(-LOOKBACK, HORIZON)
    weight = 0.3 + np.zeros(len(position))
    for lag in range(24, LOOKBACK + 1, 24):
        weight = weight + (2.6 if lag in (24, 168) else 0.9) * np.exp(-0.5 * ((position + lag) / 3.0) ** 2)
    weight = weight + 2.0 * np.exp(-0.5 * ((position + 1) / 2.0) ** 2) * (position < 0)
    weight[position >= 0] = 0.35 * np.linspace(1, 0.1, HORIZON)
    mean = weight / weight.sum()
    return AttentionProfile(position=position, mean=mean, p10=0.55 * mean, p50=0.95 * mean, p90=1.6 * mean)


def curves() -> TrainingCurves:
    epoch = np.arange(1, 21)
    rng = np.random.default_rng(2)
    return TrainingCurves(
        epoch=epoch,
        train_loss=0.12 + 0.35 * np.exp(-epoch / 3) + rng.normal(0, 0.003, 20),
        valid_loss=0.15 + 0.30 * np.exp(-epoch / 3) + rng.normal(0, 0.005, 20) + 0.001 * np.maximum(0, epoch - 14),
        learning_rate=np.where(epoch < 10, 1e-3, np.where(epoch < 15, 5e-4, 2.5e-4)),
    )


def timeline() -> Timeline:
    times = np.datetime64("2012-01-01T00") + 11 * np.arange(300).astype("timedelta64[h]")
    distance = 0.2 + 0.03 * np.random.default_rng(3).normal(size=300)
    distance[200:206] = 0.6
    events = [("2012-04-01 16:00:00 to 2012-04-03 23:00:00", "station 3", 0.6)]
    return Timeline(
        series="station 3", target="y", times=times, distance=distance, threshold=0.35, actual=rentals(300, 4),
        events=events, series_flagged=1, num_series=12,
    )  # fmt: skip


def attention_by_step() -> list[AttentionProfile]:
    profile = attention()
    return [replace(profile, mean=np.roll(profile.mean, step)) for step in range(HORIZON)]


def over_time() -> pl.DataFrame:
    times = [datetime(2012, 1, 1) + timedelta(days=6 * k) for k in range(60)]
    names = {"past": ["y", "hour", "temp"], "future": ["hour", "workingday"]}
    return pl.DataFrame(
        [
            {"group": group, "time": time, "variable": name, "mean": 1 / (v + 2), "steps": 100}
            for group, variables in names.items()
            for time in times
            for v, name in enumerate(variables)
        ]
    )


def agreement() -> Agreement:
    names = sorted({row.variable for row in importances()})
    increase = [1.0 / (i + 1) for i in range(len(names))]
    costs = pl.DataFrame({"variable": names, "increase": increase, "constant": [False] * len(names)})
    return compare_importances(importances(), costs)


def breakdown() -> ScoreBreakdown:
    ahead = np.linspace(0.1, 0.2, HORIZON)
    worst = [SeriesScores(series=f"station {n}", wql=0.3, mase=1.2, coverage=0.7, skill=-0.2 + n / 10) for n in (3, 7)]
    by_step = {"TFT": ahead, "seasonal naive 168": 1.5 * ahead}
    return ScoreBreakdown(by_step=by_step, worst=worst, worse_than_baseline=1, num_series=12)


def quality() -> list[QualityCheck]:
    return [
        QualityCheck(topic="Missing values", finding="temp 2.1%", status="note"),
        QualityCheck(topic="Gaps in time", finding="none"),
    ]


def report_data(series: int = 12, **changes: Any) -> ReportData:
    values: dict[str, Any] = {
        "title": "bike_sharing.parquet",
        "targets": ("y",),
        "frequency": "1h",
        "horizon": HORIZON,
        "lookback": LOOKBACK,
        "num_series": series,
        "data_facts": {
            "Rows": "17,544",
            "Series": str(series),
            "Step": "1 hour",
            "First row": "2011-01-01 00:00",
            "Last row": "2012-12-31 23:00",
            "Missing targets": "0",
            "Test span": "2012-10-20 to 2012-12-31",
        },
        "run_facts": {
            "Parameters": "48,312",
            "Hidden size": "32",
            "Attention heads": "4",
            "Best epoch": "14",
            "Training time": "2 min 31 s",
            "Seed": "42",
        },
        "evaluation": evaluation(),
        "curves": curves(),
        "forecast_plots": [forecast_plot(f"station {i}", i) for i in range(series)],
        "importances": importances(),
        "attention": attention(),
        "attention_by_step": attention_by_step(),
        "patterns": "attends to lags of 24 h and 168 h",
        "importance_over_time": over_time(),
        "agreement": agreement(),
        "timeline": timeline(),
        "breakdown": breakdown(),
        "coverage_error": [{0.8: 0.0123}],
        "quality": quality(),
        "explained_windows": "1,460 windows of the test span",
        "created": "Created by fusecast 0.1.0 on 2026-07-01",
    }
    return ReportData(**(values | changes))
