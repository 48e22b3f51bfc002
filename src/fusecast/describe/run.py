"""From a trained model and its data to everything that a report shows."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast._version import __version__
from fusecast.data.panel import Panel
from fusecast.data.results import check_results
from fusecast.data.write import check_folder
from fusecast.describe.health import health_checks
from fusecast.describe.judged import apart, held
from fusecast.errors import DataError
from fusecast.evaluation.calibrated import Calibrated
from fusecast.experiment import RunConfig
from fusecast.explain.explanation import Explanation
from fusecast.explain.plot import check_installed, check_kind
from fusecast.explain.seasonal import in_words
from fusecast.inquire import look_into
from fusecast.judge import judge
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.prepare import Prepared
from fusecast.report.content import Fan, FanForecast, ReportData, Timeline, TrainingCurves
from fusecast.report.page import MOST_FANS, build_report, evenly
from fusecast.report.still import write_figures
from fusecast.report.words import span
from fusecast.training.predictor import NetworkPredictor
from fusecast.windows.forecasts import Forecasts
from fusecast.windows.index import WindowIndex

SHOWN_HORIZONS = 5
"""Actuals drawn before the last forecast of a fan, in horizons."""
EXPLAINED, SHUFFLED = 2000, 250
"""Windows to explain, and to shuffle variables over."""


def write_report(
    prepared: Prepared,
    predictor: NetworkPredictor,
    folder: Path | None,
    path: Path,
    *,
    future: pl.DataFrame | None = None,
    calibrated: Calibrated | None = None,
    figures: Path | None = None,
    kind: str = "png",
) -> Path:
    """Write the page about a model; `folder` is where its training history may be.

    Parameters
    ----------
    future
        Known columns of the steps after the last rows; None draws those steps where the calendar alone is known.
    calibrated
        The model with its calibration, to be judged beside it; None where it has none.
    figures
        Folder for every figure of the page as a file of its own, of a `kind`: png, svg or pdf.

    Raises
    ------
    ArtifactError
        Before the work: when the folder of `path` does not exist, the kind is none, or `figures` cannot be written to.
    """
    check_folder(path)
    check_kind(kind)
    if figures is not None:
        check_installed()
        check_results(figures)
    page = describe(prepared, predictor, read_history(folder), future, calibrated)
    path.write_text(build_report(page), encoding="utf-8")
    if figures is not None:
        write_figures(page, figures, kind)
    return path


def describe(
    prepared: Prepared,
    predictor: NetworkPredictor,
    history: Sequence[Mapping[str, Any]] = (),
    future: pl.DataFrame | None = None,
    calibrated: Calibrated | None = None,
) -> ReportData:
    """Judge, explain and look at the data: everything that the page shows."""
    beside = [] if calibrated is None else [calibrated]
    evaluation = judge(prepared, predictor, beside=beside)
    coverage, chance = held(prepared, predictor, beside)
    kept = apart(prepared, predictor, evaluation)
    explanation = look_into(prepared, predictor, max_windows=EXPLAINED, permutation_windows=SHUFFLED)
    everything = look_into(prepared, predictor, part="all", series=some_series(prepared), max_windows=EXPLAINED)
    panel, config = prepared.panel, prepared.config
    return ReportData(
        title=Path(config.data).stem if config.data else ", ".join(panel.schema.targets),
        targets=panel.schema.targets,
        frequency=panel.schema.frequency,
        horizon=config.horizon,
        lookback=config.lookback,
        num_series=panel.num_series,
        data_facts=data_facts(prepared),
        run_facts=run_facts(config, predictor.network, history),
        health=health_checks(panel, prepared.parts, config.lookback, config.horizon),
        evaluation=evaluation,
        apart=kept.apart,
        held=coverage,
        chance=chance,
        calibrated_by="" if calibrated is None else calibrated.conformal.method,
        curves=curves(history),
        fans=fans(prepared, predictor, future, worst=kept.worst[: MOST_FANS // 4].tolist()),
        importances=explanation.importances,
        attention=explanation.attention,
        attention_by_step=explanation.attention_by_step,
        lags=in_words(explanation.seasonal_lags, explanation.rhythms),
        over_time=everything.importance_over_time,
        agreement=explanation.agreement,
        timeline=timeline(panel, everything),
        explained=f"{explanation.windows:,} windows of the test span",
        made=f"Made by fusecast {__version__} on {datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC",
    )


def some_series(prepared: Prepared) -> list[str]:
    """Names of as many series, evenly taken, as can be explained with every window: few windows show no regime."""
    counts = prepared.windows("all").counts
    there = np.flatnonzero(counts)
    room = max(1, EXPLAINED // max(1, int(np.median(counts[there])))) if len(there) else 1
    return [str(prepared.panel.ids[s].item()) for s in there[evenly(len(there), max(2, room))]]


def timeline(panel: Panel, found: Explanation) -> Timeline | None:
    """Take the series whose attention strays farthest above its threshold, and the events of all."""
    regimes = found.regimes
    if not len(regimes.series):
        return None
    chosen = int(regimes.series[int(np.argmax(regimes.distance - regimes.threshold))])
    mine = regimes.series == chosen
    rows = panel.indptr[chosen] + regimes.cutoff[mine]
    target = panel.schema.targets[0]
    events = found.events
    return Timeline(
        looked_at=len(np.unique(regimes.series)),
        series=str(panel.ids[chosen].item()),
        target=target,
        times=panel.times_of(np.full(int(mine.sum()), chosen), regimes.cutoff[mine]).to_list(),
        distance=regimes.distance[mine],
        threshold=float(regimes.threshold[mine][0]),
        actual=panel.reals[target][rows],
        events=[
            (f"{e['begin']}" + (f" to {e['end']}" if e["end"] != e["begin"] else ""), e["series"], e["distance"])
            for e in events.iter_rows(named=True)
        ],
        series_flagged=events["series"].n_unique() if events.height else 0,
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


def fans(
    prepared: Prepared, predictor: NetworkPredictor, future: pl.DataFrame | None, worst: Sequence[int] = ()
) -> list[Fan]:
    """Draw the last test window and, where it can be known, the future of as many series as a page shows.

    They are evenly taken, and the `worst` come after them.
    """
    panel, horizon = prepared.panel, prepared.config.horizon
    test = prepared.windows("test", panel.num_rows, align="end")
    there = np.flatnonzero(test.counts)
    if len(there) <= MOST_FANS:
        worst = ()
    rest = np.setdiff1d(there, worst)
    chosen = np.array([*rest[evenly(len(rest), MOST_FANS - len(worst))], *worst], dtype=np.int64)
    judged = predictor.predict(prepared.encoded, test.subset(chosen))
    coming = next_steps(prepared, predictor, future, chosen)
    return [
        Fan(
            series=str(panel.ids[s].item()),
            target=target,
            note="among the worst" if s in worst else "",
            **_actual(panel, int(s), y, horizon),
            forecasts=(
                _forecast(panel, judged, int(s), y, "last test window"),
                *(
                    ()
                    if coming is None
                    else (_forecast(panel, coming, int(s), y, f"next {span(horizon, panel.schema.frequency)}"),)
                ),
            ),
        )
        for s in chosen
        for y, target in enumerate(panel.schema.targets)
    ]


def next_steps(
    prepared: Prepared, predictor: NetworkPredictor, future: pl.DataFrame | None, series: NDArray[np.int64]
) -> Forecasts | None:
    """Forecast the steps after the last rows; None where known columns have no values there."""
    panel, config = prepared.panel, prepared.config
    try:
        extended = panel.extend(config.horizon, future)
    except DataError:
        if future is not None:
            raise
        return None
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=config.lookback, horizon=config.horizon)
    return predictor.predict(extended, index.subset(series))


def _actual(panel: Panel, s: int, y: int, horizon: int) -> dict[str, Any]:
    length = int(panel.lengths[s])
    rows = np.arange(max(0, length - (SHOWN_HORIZONS + 1) * horizon), length)
    values = panel.reals[panel.schema.targets[y]][panel.indptr[s] + rows]
    return {"times": panel.times_of(np.full(len(rows), s), rows).to_list(), "actual": values}


def _forecast(panel: Panel, forecasts: Forecasts, s: int, y: int, name: str) -> FanForecast:
    w = int(np.flatnonzero(forecasts.series == s)[0])
    ahead = forecasts.cutoff[w] + np.arange(forecasts.horizon)
    return FanForecast(
        times=panel.times_of(np.full(len(ahead), s), ahead).to_list(),
        quantiles=forecasts.quantiles[w, :, y],
        levels=forecasts.levels,
        name=name,
    )


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
        "Head": config.network.head,
        "Quantiles": ", ".join(f"{level:g}" for level in config.network.quantiles),
        "Batch": f"{config.training.batch_size} windows",
        "Learning rate": f"{config.training.learning_rate:g}",
        "Seed": str(config.training.seed),
    }
    if history:
        last = history[-1]
        facts["Training"] = f"{len(history)} epochs, {last['step']} steps, {float(last['seconds']):.0f} s"
    return facts
