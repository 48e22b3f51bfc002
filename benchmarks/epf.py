"""The published fev-bench task on Nord Pool prices (epf_np), exactly: 20 windows of 24 hours, scored as fev scores.

Horizon 24, quantiles 0.1 to 0.9, season 24; load and wind forecasts are known; the last 480 hours are 20 windows whose
cutoffs move by 24. Scores are those of fev (github.com/autogluon/fev): each window is scored by itself, with the mean
absolute seasonal difference of all rows before its own cutoff as the divisor, and the windows' scores are averaged.

Our model is fitted once, on the rows before the first cutoff: the cheap variant of the task. The published TFT was
refitted at every window.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.libraries import shared_data
from benchmarks.speed import RESULTS

HORIZON = SEASON = 24
WINDOWS = 20
LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 10))
SCORES = ("SQL", "MASE", "WQL")
PUBLISHED = {  # from shared/data/SOURCES.md
    "PatchTST": (0.6353, 0.8061, 0.0288),
    "Chronos-2 (zero-shot)": (0.6581, 0.8502, 0.0297),
    "TabPFN-TS": (0.6784, 0.8827, 0.0301),
    "TFT (AutoGluon's, refitted at every window)": (0.6896, 0.8589, 0.0316),
    "DeepAR": (0.8173, 0.9948, 0.0371),
    "LightGBM": (1.3025, 1.3025, 0.0580),
    "seasonal naive": (1.5298, 1.7613, 0.0692),
}
NAIVE_CONTEXT = 1_000  # rows that the published seasonal naive took its spread from: found by its scores


def cutoffs(rows: int) -> NDArray[np.int64]:
    """Numbers of known rows at which the task forecasts, [20]."""
    return rows - (WINDOWS - np.arange(WINDOWS)) * HORIZON


def fev_scores(quantiles: NDArray[np.float64], prices: NDArray[np.float64]) -> dict[str, float]:
    """Score forecasts [20, 24, 9] of the last 480 of `prices` [N]; the point forecast is the median."""
    levels = np.asarray(LEVELS)
    found = []
    for forecast, cutoff in zip(quantiles, cutoffs(len(prices)).tolist(), strict=True):
        past, actual = prices[:cutoff], prices[cutoff : cutoff + HORIZON]
        divisor = np.abs(past[SEASON:] - past[:-SEASON]).mean()
        above = actual[:, None] - forecast
        loss = 2 * np.maximum(levels * above, (levels - 1) * above)
        error = np.abs(actual - forecast[:, LEVELS.index(0.5)])
        found.append((loss.mean() / divisor, error.mean() / divisor, loss.mean() / np.abs(actual).mean()))
    return dict(zip(SCORES, np.mean(found, axis=0).tolist(), strict=True))


def seasonal_naive(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Repeat the last day, with normal quantiles whose deviation is the root mean square of daily differences."""
    deviates = np.array([statistics.NormalDist().inv_cdf(level) for level in LEVELS])
    made = []
    for cutoff in cutoffs(len(prices)).tolist():
        context = prices[max(0, cutoff - NAIVE_CONTEXT) : cutoff]
        deviation = np.sqrt(np.mean((context[SEASON:] - context[:-SEASON]) ** 2))
        made.append(context[-SEASON:][:, None] + deviation * deviates)
    return np.stack(made)


def our_forecasts(
    table: Path, options: argparse.Namespace, seed: int
) -> tuple[NDArray[np.float64], dict[str, float | str]]:
    """Fit once on the rows before the first cutoff, and forecast all windows: [20, 24, 9]."""
    from fusecast.forecaster import Forecaster

    forecaster = Forecaster(
        HORIZON,
        options.lookback,
        known=["load_forecast", "wind_forecast"],
        network={"hidden_size": options.hidden, "num_heads": 4, "dropout": options.dropout, "quantiles": LEVELS},
        features={"window_scaling": options.window_scaling, "target_scaling": options.target_scaling},
        split={"validation": options.validation_days, "test": WINDOWS},  # both in horizons, which are days
        training={
            "learning_rate": options.learning_rate,
            "batch_size": 64,
            "windows_per_epoch": options.windows_per_epoch,
            "validation_windows": None,
            "max_epochs": 1_000,
            "max_minutes": options.minutes,
            "max_steps": options.steps,
            "early_stopping_patience": 10,
            "final": "none",  # the windows are forecast by the networks that have not learned from them
            "lr_scheduler_patience": 3,
            "logger": "none",
            "progress": not options.quiet,
            "accelerator": options.accelerator,
            "seed": seed,
        },
    )
    began = time.monotonic()
    prepared = forecaster.prepare(options.frame if options.frame is not None else table)
    with tempfile.TemporaryDirectory() as scratch:
        forecaster.fit(folder=scratch)
    index = prepared.windows("test", HORIZON)
    assert index.locate(np.arange(len(index)))[1].tolist() == cutoffs(prepared.panel.num_rows).tolist()
    made = forecaster.predictor.predict(prepared.panel, index).quantiles[:, :, 0]
    result = forecaster.result
    assert result is not None
    return made, {"seconds": time.monotonic() - began, "epochs": len(result.history), "stopped": result.stopped_why}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the seasonal naive, fit ours, print the table; 1 when the seasonal naive is not the published one."""
    options = parse(arguments)
    import polars as pl

    table = options.source / "epf_nordpool.parquet"
    options.frame = None
    if not table.exists():
        print(f"{table.name} is not in {options.source}")
        return 1
    if options.head is not None:
        options.frame = pl.read_parquet(table).sort("ds").head(options.head)
    frame = pl.read_parquet(table).sort("ds") if options.frame is None else options.frame
    prices = frame["y"].to_numpy().astype(np.float64)

    naive = fev_scores(seasonal_naive(prices), prices)
    print("seasonal naive here:", ", ".join(f"{name} {value:.4f}" for name, value in naive.items()))
    if options.frame is None:
        differs = [
            name
            for name, value in zip(SCORES, PUBLISHED["seasonal naive"], strict=True)
            if abs(round(naive[name], 4) - value) > 1e-9
        ]
        if differs:
            print(f"the published seasonal naive has other scores: {', '.join(differs)}; nothing below can be compared")
            return 1
        print("which are the published ones: the task and its scores are understood")

    runs: list[dict[str, Any]] = []
    forecasts = []
    for seed in range(options.seeds):
        made, how = our_forecasts(table, options, seed)
        forecasts.append(made)
        runs.append({"seed": seed, **fev_scores(made, prices), **how})
        print(f"seed {seed}:", ", ".join(f"{n} {runs[-1][n]:.4f}" for n in SCORES), f"({how['seconds']:.0f} s)")
    rows = dict(PUBLISHED)
    suffix = f", mean of {options.seeds} seeds" if options.seeds > 1 else ""
    rows[f"**fusecast, one fit**{suffix}"] = tuple(statistics.mean(run[n] for run in runs) for n in SCORES)
    if options.seeds > 1:
        together = fev_scores(np.mean(forecasts, axis=0), prices)
        rows[f"**fusecast, {options.seeds} seeds averaged**"] = tuple(together[n] for n in SCORES)
    lines = ["| model | SQL | MASE | WQL |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |"
        for name, values in sorted(rows.items(), key=lambda item: item[1][0])
    ]
    text = "\n".join(lines)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = {name: str(value) for name, value in vars(options).items() if name != "frame"}
    record = {"options": kept, "seasonal_naive": naive, "runs": runs, "table": rows}
    (options.out / "epf.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.out / "epf.md").write_text(text + "\n", encoding="utf-8")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epf", description=__doc__.splitlines()[0])
    parser.add_argument("--lookback", type=int, default=168)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--window-scaling", default="mean", choices=("none", "mean", "last"))
    parser.add_argument("--target-scaling", default="standard")
    parser.add_argument("--validation-days", type=int, default=60)
    parser.add_argument("--windows-per-epoch", type=int, default=12_800)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each seed")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--head", type=int, default=None, help="first rows to keep, for tests")
    parser.add_argument("--source", type=Path, default=shared_data())
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
