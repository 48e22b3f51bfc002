"""Small seeded runs: each trains for a few steps and answers everything that a Forecaster can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from tests.golden.tables import (
    Data,
    Tables,
    backtested,
    bike_plan,
    bikes,
    explained,
    flat,
    history_of,
    one_explained,
    written_report,
)

from fusecast import Forecaster
from fusecast.workflows.calibrate import CALIBRATION_AHEAD

LEVELS = (0.02, 0.3, 0.5, 0.97)
SHORT: dict[str, Any] = {
    "max_steps": 12,
    "batch_size": 32,
    "windows_per_epoch": 128,
    "validation_windows": 100,
    "members": 1,
    "final": "none",
    "average_weights": False,
    "min_epoch_steps": 1,
    "logger": "none",
    "progress": False,
    "accelerator": "cpu",
}
"""Twelve steps in three epochs: enough to move every weight, too few for rounding to grow."""
SMALL: dict[str, Any] = {"hidden_size": 16, "num_heads": 2, "dropout": 0.0}
"""Without dropout, which the kernels in C draw otherwise than torch; `dropout` has it."""
CALENDAR: dict[str, Any] = {
    "calendar": ["hour", "day_of_week", "day_of_month", "month"],
    "window_scaling": "mean",
    "lower_bound": "none",
}
"""What `auto` took when the tables were recorded; now it leaves out months and years that weeks of data do not show."""
EVENTS = ["easter_day", "christmas", "labor_day", "music_fest"]


def ahead(forecaster: Forecaster, future: Any) -> Tables:
    """Everything that is forecast past the end of the table."""
    return {
        "predict": pl.DataFrame(forecaster.predict(future, raw=True)),
        "predict_levels": pl.DataFrame(forecaster.predict(future, quantiles=LEVELS, raw=True)),
        **{
            f"sample_{method}": pl.DataFrame(forecaster.sample(3, future, method=method, seed=7, raw=True))
            for method in ("gaussian", "empirical", "independent")
        },
    }


def judged(forecaster: Forecaster, stride: int | None = None) -> Tables:
    """The test span, as rows and as the summary that is written."""
    evaluation = forecaster.evaluate(stride=stride, raw=True)
    summary = replace(evaluation, comparison=None).to_dict()  # these files were made without a comparison
    return {"evaluate": pl.DataFrame(evaluation.to_rows()), "evaluate_summary": flat(summary)}


def calibrated(forecaster: Forecaster, future: Any, stride: int) -> Tables:
    """What every calibration has learned, and what it makes of forecasts; the last one stays."""
    made: Tables = {}
    for method in ("cqr", "split", "adaptive", "auto"):
        made[f"calibrate_{method}"] = flat(forecaster.calibrate(method).to_dict())
        as_earlier(forecaster)
        made[f"calibrate_{method}_predict"] = pl.DataFrame(forecaster.predict(future))
    made["calibrate_levels"] = pl.DataFrame(forecaster.predict(future, quantiles=LEVELS))
    made["calibrate_sample"] = pl.DataFrame(forecaster.sample(2, future, seed=3))
    made |= {f"calibrate_{name}": table for name, table in judged(forecaster).items()}
    after = forecaster.backtest(stride=stride, baselines=["last"])
    return made | backtested("calibrate_backtest", after)


def as_earlier(forecaster: Forecaster) -> None:
    """Keep the calibration of the validation rows alone, as bundles had when the tables were recorded."""
    bundle = forecaster._require_bundle()
    extra = {name: value for name, value in bundle.extra.items() if name != CALIBRATION_AHEAD}
    forecaster._bundle = replace(bundle, extra=extra)


def everything(
    forecaster: Forecaster,
    scratch: Path,
    *,
    future: Any,
    series: str,
    changes: dict[str, Any],
    stride: int,
    refit_every: int,
    baselines: Sequence[str],
) -> Tables:
    """Ask a fitted forecaster everything."""
    assert forecaster.result is not None
    made: Tables = {"history": history_of(forecaster.result.history)}
    made |= ahead(forecaster, future) | judged(forecaster)
    result = forecaster.backtest(stride=stride, baselines=baselines, raw=True)
    made |= backtested("backtest", result, *(by for by in result.groupings if by not in ("origin", "hour")))
    again = {"stride": stride, "refit_every": refit_every}
    made |= backtested("backtest_refit", forecaster.backtest(**again, baselines=["last", "seasonal"]))
    made |= backtested("backtest_fresh", forecaster.backtest(**again, warm_start=False, baselines=[]))
    made |= explained("explain", forecaster.explain(max_windows=40, permutation=40))
    one = forecaster.explain(series=series, split="validation", max_windows=10)
    made |= {f"explain_one_series_{name}": one.tables()[name] for name in ("importances", "attention")}
    made |= one_explained("explain_forecast", forecaster.explain_forecast(series, future))
    made |= one_explained("explain_last_steps", forecaster.explain_forecast(series))
    made["what_if"] = pl.DataFrame(forecaster.what_if(changes, future))
    made["what_if_last_steps"] = pl.DataFrame(forecaster.what_if(changes, series=series))
    made |= calibrated(forecaster, future, stride)
    made["report"] = written_report(forecaster.report(scratch / "report.html", future=future))
    return made


def bike_sharing(data: Data, scratch: Path) -> Tables:
    """Hourly, one series: a head of quantiles, known numbers and categories, observed numbers and categories."""
    forecaster = Forecaster(
        6,
        24,
        known=["holiday", "workingday"],
        observed=["weather", "temp", "hum"],
        categorical=["workingday"],
        network=SMALL,
        features=CALENDAR,
        training=SHORT,
        calibration="none",
        blend="none",
    ).fit(bikes(60))
    return everything(
        forecaster,
        scratch,
        future=bike_plan(6),
        series="DC",
        changes={"holiday": 0, "workingday": [1, 1, 1, 0, 0, 0]},
        stride=11,
        refit_every=6,
        baselines=["last", "seasonal", "drift", "mean"],
    )


def sales(data: Data, series: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Monthly sales of some of the 350 series, and a plan of the three months after them."""
    table = pl.read_parquet(data("stallion"))
    names = table["unique_id"].unique(maintain_order=True).gather_every(350 // series).head(series)
    table = table.filter(pl.col("unique_id").is_in(names.to_list()))
    plan = table.group_by("unique_id", maintain_order=True).tail(3).with_columns(pl.col("ds").dt.offset_by("3mo"))
    return table, plan.select("unique_id", "ds", "price_regular", "discount", *EVENTS)


STALLION: dict[str, Any] = {
    "static": ["agency", "sku", "avg_population_2017"],
    "known": ["price_regular", "discount", *EVENTS],
    "observed": ["industry_volume", "avg_max_temp"],
    "categorical": ["christmas", "music_fest"],
}


def stallion(data: Data, scratch: Path) -> Tables:
    """Monthly, many series: statics, known and observed columns, Student's t. Of the table no value is kept."""
    table, plan = sales(data, 14)
    forecaster = Forecaster(
        3,
        12,
        **STALLION,
        network={**SMALL, "head": "student_t"},
        features={"window_scaling": "mean", "lower_bound": "none"},
        training=SHORT,
        calibration="none",
        blend="none",
    ).fit(table)
    series = table["unique_id"][0]
    made = everything(
        forecaster,
        scratch,
        future=plan,
        series=series,
        changes={"discount": 20.0, "christmas": 0},
        stride=2,
        refit_every=2,
        baselines=["last", "seasonal"],
    )
    values = ("actual", "y", "ahead_y")
    return {
        name: each if isinstance(each, str) else each.drop(*values, strict=False)
        for name, each in made.items()
        if not name.startswith(("sample_empirical", "backtest_fresh"))
    }


def heads(data: Data, scratch: Path) -> Tables:
    """Each distribution on counts, with two layers of LSTM."""
    made: Tables = {}
    for head in ("normal", "student_t", "negative_binomial", "tweedie"):
        forecaster = Forecaster(
            4,
            24,
            known=["holiday", "workingday"],
            network={**SMALL, "head": head, "num_lstm_layers": 2, "quantiles": [0.1, 0.3, 0.5, 0.9]},
            features=CALENDAR | ({"window_scaling": "none"} if head == "tweedie" else {}),
            calibration="none",
            blend="none",
            training=SHORT | {"max_steps": 8, "start": "paper" if head == "normal" else "torch"},
        ).fit(bikes(30))
        one = ahead(forecaster, bike_plan(4)) | judged(forecaster)
        kept = ("predict", "predict_levels", "sample_gaussian", "evaluate")
        made |= {f"{head}_{name}": one[name] for name in kept}
    return made


def gaps(data: Data, scratch: Path) -> Tables:
    """A pandas frame of two series and two targets, with missing values and rows, logarithms, the last value."""
    table = bikes(40).select("unique_id", "ds", "y", "temp", "hum", "weather", "holiday").with_row_index("row")
    missing = pl.col("row") % 17 == 5
    table = table.with_columns(
        y=pl.when(missing).then(None).otherwise("y"),
        hum=pl.when(pl.col("row") % 7 == 0).then(None).otherwise("hum"),
        weather=pl.when(pl.col("row") % 29 == 3).then(None).otherwise("weather"),
    ).filter(pl.col("row") % 101 != 51)
    newcomer = table.tail(100).with_columns(unique_id=pl.lit("new"), y=pl.col("y") * 2)
    frame = pl.concat([table, newcomer]).drop("row")
    forecaster = Forecaster(
        4,
        24,
        target=["y", "temp"],
        known=["holiday"],
        observed=["weather", "hum"],
        network=SMALL,
        features=CALENDAR | {"target_transform": "log1p", "window_scaling": "last", "covariate_scaling": "robust"},
        split={"validation": 12, "test": 10},
        calibration="none",
        blend="none",
        training=SHORT | {"weight_decay": 0.01, "seed": 5},
    ).fit(frame.to_pandas())
    plan = bike_plan(4)
    both = pl.concat([plan.with_columns(unique_id=pl.lit(name)) for name in ("DC", "new")]).select(
        "unique_id", "ds", "holiday"
    )
    made = ahead(forecaster, both.to_pandas()) | judged(forecaster, stride=3)
    result = forecaster.backtest(stride=7, start="2012-12-30", baselines=["drift"])
    made |= backtested("backtest", result, "all", "series", "hour")
    return made | explained("explain", forecaster.explain(split="all", max_windows=30, permutation=20))
