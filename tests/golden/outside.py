"""The command line and the four scripts at the root, as their users call them."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tests.golden.scenarios import CALENDAR, SHORT, SMALL
from tests.golden.tables import (
    ROOT,
    Data,
    Tables,
    bike_plan,
    bikes,
    commands,
    flat,
    helps,
    without_seconds,
    written_report,
)

from fusecast import Forecaster

VERBS = (
    "inspect",
    "fit",
    "predict",
    "evaluate",
    "backtest",
    "calibrate",
    "explain",
    "report",
    "export",
    "migrate",
    "demo",
)


def help_texts(data: Data, scratch: Path) -> Tables:
    """``--help`` of every command."""
    return dict(zip(("fusecast", *VERBS), helps(VERBS), strict=True))


def m4_hourly(data: Data, scratch: Path) -> Tables:
    """Twenty hourly series on the command line: five levels, windows that are not scaled."""
    table = pl.read_parquet(data("m4_hourly"))
    names = table["unique_id"].unique(maintain_order=True).head(20)
    table.filter(pl.col("unique_id").is_in(names.to_list())).write_parquet(scratch / "m4.parquet")
    shown = commands(
        ["inspect", "m4.parquet"],
        [
            *("fit", "m4.parquet", "--out", "run", "--horizon", 8, "--lookback", 48, "--lr", 0.002),
            *("--quantiles", "0.05,0.25,0.5,0.75,0.95", "--hidden-size", 8, "--heads", 1, "--max-steps", 12),
            *("--dropout", 0, "--calibration", "none", "--blend", "none", "--final", "none", "--members", 1),
            *("--set", "features.window_scaling=none", "--set", "training.windows_per_epoch=512"),
            *("--set", "features.lower_bound=none"),
            *("--set", f"features.calendar={CALENDAR['calendar']}"),
            *("--set", "training.average_weights=false", "--set", "training.min_epoch_steps=1"),
            *("--set", "training.logger=none", "--set", "training.progress=false", "--set", "training.accelerator=cpu"),
        ],
        ["evaluate", "run", "--raw"],
        ["predict", "run", "--out", "predict.parquet", "--raw"],
        ["predict", "run", "--out", "predict_levels.csv", "--quantiles", "0.01,0.5,0.8", "--raw"],
        ["backtest", "run", "--stride", 160, "--out", "backtest.parquet"],
        [*("backtest", "run", "--stride", 60, "--refit-every", 1, "--baselines", ""), "--out", "refit.parquet"],
        ["explain", "run", "--shuffle", 40, "--windows", 60, "--series", "H1", *FLAT, "--out", "explain"],
        ["report", "run"],
        ["calibrate", "run"],
        ["predict", "run", "--out", "calibrated.parquet"],
        [*("backtest", "run", "--stride", 120, "--baselines", "last"), "--out", "after.parquet"],
        ["evaluate", "run", "--stride", 30, "--raw"],
        folder=scratch,
    )
    words = ("inspect", "fit", "evaluate", "predict", "predict_levels", "backtest", "refit", "explain", "report")
    words = (*words, "calibrate", "calibrated", "after", "evaluate_again")
    made: Tables = {f"{name}_said": text for name, text in zip(words, shown, strict=True)}
    for name in ("evaluate_said", "evaluate_again_said"):  # made without the comparison by series
        made[name] = re.sub(r"On \w+ of [\d,]+ series[^.]*\.\n\s*", "", str(made[name]))
    for name in ("predict", "backtest", "backtest.metrics", "refit", "calibrated", "after"):
        made[name.replace(".", "_")] = pl.read_parquet(scratch / f"{name}.parquet")
    made["backtest_metrics"] = made["backtest_metrics"].filter(pl.col("by").is_in(["all", "step", "hour"]))
    made["predict_levels"] = pl.read_csv(scratch / "predict_levels.csv", try_parse_dates=True)
    for name in ("backtest", "refit", "after", "run/metrics"):
        summary = json.loads((scratch / f"{name}.json").read_text())
        summary.pop("sha256", None)  # of files whose bytes depend on the processor
        summary.pop("validation", None)  # which these files were made without
        made[name.replace("/", "_") + "_summary"] = flat(summary)
    for path in sorted((scratch / "explain").glob("*.parquet")):
        made[f"explain_{path.stem}"] = pl.read_parquet(path)
    made["explain_text"] = (scratch / "explain" / "explanation.txt").read_text(encoding="utf-8")
    return made | {"report": written_report(scratch / "run" / "report.html")}


FLAT = ("--tables", "parquet", "--figures", "none")


@contextlib.contextmanager
def the_scripts() -> Iterator[Any]:
    """Give a function that imports one of the four scripts at the root of the version in use."""
    sys.path.insert(0, str(ROOT))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(ROOT))


def steps_table() -> np.ndarray:
    """Two hundred steps of three features that follow from one another."""
    random = np.random.default_rng(11)
    steps = np.arange(200)
    waves = np.stack([np.sin(steps / 5), np.cos(steps / 7), steps / 100], axis=1)
    return (waves + 0.1 * random.normal(size=waves.shape)).astype(np.float32)


SETTINGS: dict[str, Any] = {
    "hidden_size": 8,
    "num_heads": 1,
    "dropout": 0.0,
    "num_epochs": 2,
    "window_size": 12,
    "batch_size": 32,
    "learning_rate": 0.002,
    "data_path": "steps.csv",
    "logger": "none",
    "accelerator": "cpu",
}


def trained_by_script(folder: Path, **settings: Any) -> tuple[Tables, Path]:
    """Train with the script in a folder; give what it said and wrote, and the path of the best checkpoint."""
    pl.DataFrame(steps_table(), schema=["a", "b", "c"]).write_csv(folder / "steps.csv")
    said = io.StringIO()
    with the_scripts() as script, contextlib.chdir(folder), contextlib.redirect_stdout(said):
        config = script("config_lightning").LightningTrainingConfig(**{**SETTINGS, **settings})
        _, trainer = script("train_tft_lightning").train_tft_lightning(config)
        best = Path(trainer.checkpoint_callback.best_model_path).resolve()
    written = pl.read_csv(folder / "checkpoints_lightning" / "metrics.csv")
    text = without_seconds(said.getvalue().replace(f"{folder.resolve()}/", ""))
    text = re.sub(r"val_loss=[\d.]+ckpt", "val_loss=N.ckpt", text)
    return {"said": text, "metrics": written.drop("seconds", "windows_per_second", strict=False)}, best


def predicted_by_script(checkpoint: Path) -> Tables:
    """Forecasts and actual values of the test windows, and what is said of them."""
    said = io.StringIO()
    with the_scripts() as script, contextlib.redirect_stdout(said):
        loader = script("dataset").make_dataloaders(steps_table(), 12, 32)[2]
        forecasts, actuals = script("train_tft_lightning").predict_with_model(checkpoint, loader, "cpu")
    return {
        "predictions": pl.DataFrame(forecasts, schema=["a", "b", "c"]),
        "actuals": pl.DataFrame(actuals, schema=["a", "b", "c"]),
        "scores_said": said.getvalue(),
    }


def scripts(data: Data, scratch: Path) -> Tables:
    """The four scripts: train on a small array, then forecast with the best checkpoint."""
    made, best = trained_by_script(scratch)
    settings = json.loads((scratch / "checkpoints_lightning" / "training_config.json").read_text())
    return made | predicted_by_script(best) | {"settings": flat(settings)}


def dropout(data: Data, scratch: Path) -> Tables:
    """The same with dropout, where the kernels in C are in use: a small run of a Forecaster, and one of the scripts."""
    network = {**SMALL, "dropout": 0.1}
    forecaster = Forecaster(
        6, 24, known=["holiday"], network=network, features=CALENDAR, training=SHORT, calibration="none", blend="none"
    )
    forecaster = forecaster.fit(bikes(30))
    _, best = trained_by_script(scratch, dropout=0.2)
    return {"predict": forecaster.predict(bike_plan(6)), "predictions": predicted_by_script(best)["predictions"]}
