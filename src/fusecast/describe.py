"""From a trained model and its data to everything that a report shows."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fusecast._version import __version__
from fusecast.data.panel import Panel
from fusecast.evaluation.evaluate import Evaluation
from fusecast.experiment import RunConfig
from fusecast.explain.explanation import Explanation
from fusecast.inquire import look_into
from fusecast.judge import judge
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.prepare import Prepared
from fusecast.report.content import Fan, FanForecast, ReportData, TrainingCurves
from fusecast.report.page import MOST_FANS, build_report, evenly
from fusecast.report.words import span
from fusecast.training.predictor import NetworkPredictor
from fusecast.windows.forecasts import Forecasts

SHOWN_HORIZONS = 5
"""Actuals drawn before the last forecast of a fan, in horizons."""


def write_report(prepared: Prepared, predictor: NetworkPredictor, folder: Path | None, path: Path) -> Path:
    """Write the page about a model; `folder` is where its training history may be."""
    history = read_history(folder)
    last_of_each_series = prepared.windows("test", prepared.panel.num_rows, align="end")
    page = report_data(
        prepared,
        evaluation=judge(prepared, predictor),
        explanation=look_into(prepared, predictor, max_windows=2000),
        forecasts=predictor.predict(prepared.encoded, last_of_each_series),
        history=history,
        facts=run_facts(prepared.config, predictor.network, history),
    )
    path.write_text(build_report(page), encoding="utf-8")
    return path


def report_data(
    prepared: Prepared,
    *,
    evaluation: Evaluation,
    explanation: Explanation,
    forecasts: Forecasts,
    history: Sequence[Mapping[str, Any]],
    facts: Mapping[str, str],
) -> ReportData:
    """Gather what a page shows.

    Parameters
    ----------
    forecasts
        Windows to draw over the actuals, of any number a series.
    history
        Rows of the training history, one an epoch.
    facts
        What there is to say about network and training, label to words.
    """
    panel, config = prepared.panel, prepared.config
    return ReportData(
        title=Path(config.data).stem if config.data else ", ".join(panel.schema.targets),
        targets=panel.schema.targets,
        frequency=panel.schema.frequency,
        horizon=config.horizon,
        lookback=config.lookback,
        num_series=panel.num_series,
        data_facts=data_facts(prepared),
        run_facts=facts,
        evaluation=evaluation,
        curves=curves(history),
        fans=fans(panel, forecasts, config.horizon),
        importances=explanation.importances,
        attention=explanation.attention,
        explained=f"{explanation.windows:,} windows of the test span",
        made=f"Made by fusecast {__version__} on {datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC",
    )


def data_facts(prepared: Prepared) -> dict[str, str]:
    """Describe a panel and its split in words."""
    panel, parts = prepared.panel, prepared.parts
    lengths = panel.lengths
    missing = {name: np.isnan(panel.reals[name]).mean() for name in panel.reals}
    last = panel.times_of(np.arange(panel.num_series), lengths - 1)
    first = panel.times_of(np.arange(panel.num_series), lengths * 0)
    tested = lengths - parts.valid_end
    return {
        "Rows": f"{panel.num_rows:,}",
        "Series": f"{panel.num_series:,}",
        "Steps a series": f"{lengths.min():,} to {lengths.max():,}"
        if lengths.min() < lengths.max()
        else f"{lengths[0]:,}",
        "Time": f"{first.min()!s} to {last.max()!s}",
        "Step": panel.schema.frequency,
        "Missing values": ", ".join(f"{name} {share:.1%}" for name, share in missing.items() if share > 0) or "none",
        "Trained on": f"{parts.train_end.sum():,} rows",
        "Validated on": f"{(parts.valid_end - parts.train_end).sum():,} rows",
        "Tested on": f"{tested.sum():,} rows",
    }


def fans(panel: Panel, forecasts: Forecasts, horizon: int) -> list[Fan]:
    """Draw the forecasts over the last actuals of their series, for as many series as a page shows."""
    result = []
    by_series = np.unique(forecasts.series)
    for s in by_series[evenly(len(by_series), MOST_FANS)]:
        mine = np.flatnonzero(forecasts.series == s)
        first = max(0, int(forecasts.cutoff[mine].min()) - SHOWN_HORIZONS * horizon)
        rows = np.arange(first, int(panel.lengths[s]))
        for y, target in enumerate(panel.schema.targets):
            values = panel.reals[target][panel.indptr[s] + rows]
            drawn = []
            for w in mine:
                ahead = forecasts.cutoff[w] + np.arange(horizon)
                past = bool(ahead[-1] < panel.lengths[s])
                drawn.append(
                    FanForecast(
                        times=panel.times_of(np.full(horizon, s), ahead).to_list(),
                        quantiles=forecasts.quantiles[w, :, y],
                        levels=forecasts.levels,
                        name="last test window" if past else f"next {span(horizon, panel.schema.frequency)}",
                    )
                )
            times = panel.times_of(np.full(len(rows), s), rows).to_list()
            name = str(panel.ids[s].item())
            result.append(Fan(series=name, target=target, times=times, actual=values, forecasts=tuple(drawn)))
    return result


def curves(history: Sequence[Mapping[str, Any]]) -> TrainingCurves | None:
    """Turn the rows of a history into curves; None without rows."""
    if not history:
        return None

    def column(name: str) -> list[float]:
        return [float("nan") if row.get(name) in (None, "") else float(row[name]) for row in history]

    return TrainingCurves(
        epoch=column("epoch"),
        train_loss=column("train_loss"),
        valid_loss=column("val_loss"),
        learning_rate=column("lr"),
    )


def read_history(folder: Path | None) -> list[dict[str, str]]:
    """Read the training history in a run's folder; empty where there is none."""
    path = None if folder is None else folder / "history.csv"
    if path is None or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_facts(
    config: RunConfig, network: TemporalFusionTransformer, history: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Describe network and training in words."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    facts = {
        "Parameters": f"{parameters:,}",
        "Hidden size": str(config.network.hidden_size),
        "Attention heads": str(config.network.num_heads),
        "Lookback": f"{config.lookback} steps",
        "Horizon": f"{config.horizon} steps",
        "Quantiles": ", ".join(f"{level:g}" for level in config.network.quantiles),
        "Batch": f"{config.training.batch_size} windows",
        "Learning rate": f"{config.training.learning_rate:g}",
        "Seed": str(config.training.seed),
    }
    if history:
        last = history[-1]
        facts["Training"] = f"{len(history)} epochs, {last['step']} steps, {float(last['seconds']):.0f} s"
    return facts
