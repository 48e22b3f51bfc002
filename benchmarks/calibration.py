"""`make calibration`: does an interval hold what it promises on the test span, raw and calibrated, on every real set?

Takes runs (folders with a config.json) or names of sets, for which a small model is trained first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from fusecast import Forecaster
from fusecast.evaluation.significance import standard_error
from fusecast.workflows.calibrate import calibrate, calibrate_bundle

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
RUNS = ROOT / "benchmarks" / "results" / "calibration"
METHODS = ("cqr", "split", "adaptive")
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
EVENTS = (
    "easter_day", "good_friday", "new_year", "christmas", "labor_day", "independence_day", "revolution_day_memorial",
    "regional_games", "fifa_u_17_world_cup", "football_gold_cup", "beer_capital", "music_fest",
)  # fmt: skip
SETS: dict[str, dict[str, Any]] = {
    "bike_sharing": {
        "horizon": 24, "lookback": 168, "known": ["holiday", "workingday"],
        "observed": ["weather", "temp", "atemp", "hum", "windspeed"],
    },
    "stallion": {
        "horizon": 6, "lookback": 24,
        "static": ["agency", "sku", "avg_population_2017", "avg_yearly_household_income_2017"],
        "known": [*EVENTS, "price_regular", "price_actual", "discount", "discount_in_percent"],
        "observed": ["industry_volume", "soda_volume", "avg_max_temp"],
    },
    "m4_hourly": {"horizon": 48, "lookback": 168},
    "vic_electricity": {"horizon": 48, "lookback": 336, "known": ["holiday"], "observed": ["temperature"]},
    "etth1": {"horizon": 24, "lookback": 168},
    "exchange_rate": {"horizon": 30, "lookback": 180},
    "epf_nordpool": {"horizon": 24, "lookback": 168, "known": ["load_forecast", "wind_forecast"]},
}  # fmt: skip


def trained(name: str, steps: int) -> Forecaster:
    """Load the small model of a set, or train it for so many steps; the same steps give the same model."""
    folder = RUNS / f"{name}-{steps}"
    if (folder / "config.json").exists():
        return Forecaster.load(folder)
    forecaster = Forecaster(
        **SETS[name],
        network={"hidden_size": 16, "quantiles": LEVELS},
        training={
            "max_steps": steps,
            "learning_rate": 0.003,
            "windows_per_epoch": 6_400,
            "logger": "none",
            "final": "none",
        },
    )
    return forecaster.fit(DATA / f"{name}.parquet", folder=folder)


def table(forecaster: Forecaster, windows: int) -> list[dict[str, Any]]:
    """Coverage of every central interval on the test span: one row a method and interval."""
    prepared = forecaster.prepared
    stride = max(1, len(prepared.windows("test")) // windows)
    rows = []
    for method in ("raw", *METHODS):
        if method == "raw":
            judged = forecaster.backtest(stride=stride, baselines=[], raw=True)
        else:
            plain = forecaster._bundle  # noqa: SLF001  nothing is saved: the run stays as it was
            forecaster._bundle = calibrate_bundle(plain, prepared, forecaster.predictor, method)  # noqa: SLF001
            judged = forecaster.backtest(stride=stride, baselines=[])
            forecaster._bundle = plain  # noqa: SLF001
        scores = judged.evaluation.scores["TFT"][0]
        own = judged.table.filter(predictor="TFT")
        for share, found in scores.coverage.items():
            chance = chance_of(own, share, prepared.panel.schema.time, forecaster.config.horizon)
            width = scores.width[share]
            rows.append({"method": method, "nominal": share, "coverage": found, "width": width, "chance": chance})
    return rows


def chance_of(forecasts: pl.DataFrame, share: float, time: str, horizon: int) -> float:
    """Standard error of the coverage of an interval, from a backtest's long table."""
    low, high = (f"q{level:g}" for level in ((1 - share) / 2, (1 + share) / 2))
    inside = forecasts.select(pl.col("actual").is_between(low, high).cast(pl.Float64)).to_series()
    return standard_error(inside.to_numpy(), forecasts[time].to_physical().to_numpy(), horizon)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of every run or set named; end with 1 where what `auto` takes is off by over 2 points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", default=list(SETS), help="run folders or names of sets [all sets]")
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps of training for a set")
    parser.add_argument("--windows", type=int, default=2_000, help="test windows judged, about")
    options = parser.parse_args(arguments)
    worst = 0.0
    methods = " | ".join(METHODS)
    print(f"| set | nominal | raw | {methods} | auto takes | chance | width raw | {methods} |")
    print("| --- " * (3 + 2 * len(METHODS) + 3) + "|")
    for run in options.runs:
        forecaster = trained(run, options.steps) if run in SETS else Forecaster.load(run)
        rows = table(forecaster, options.windows)
        taken = calibrate(forecaster.prepared, forecaster.predictor, "auto").method
        for share in dict.fromkeys(row["nominal"] for row in rows):
            own = {row["method"]: row for row in rows if row["nominal"] == share}
            covered = " | ".join(f"{100 * own[method]['coverage']:.1f}" for method in ("raw", *METHODS))
            width = " | ".join(f"{own[method]['width']:.4g}" for method in ("raw", *METHODS))
            chance = f"± {100 * own[taken]['chance']:.1f}"
            print(f"| {Path(run).name} | {100 * share:.0f} | {covered} | {taken} | {chance} | {width} |", flush=True)
            worst = max(worst, abs(own[taken]["coverage"] - share))
    print(f"\nWhat auto takes is at most {100 * worst:.1f} points off.")
    return int(worst > 0.02)


if __name__ == "__main__":
    sys.exit(main())
