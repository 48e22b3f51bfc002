"""Collect everything that a report shows from a trained model and its data, and write the page."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast._version import __version__
from fusecast.calibration.calibrated_predictor import Calibrated
from fusecast.config import RunConfig
from fusecast.data.frequency import seasons_for
from fusecast.data.panel import Panel
from fusecast.data.quality import health_checks
from fusecast.errors import DataError
from fusecast.evaluation.actuals import actuals, targets
from fusecast.evaluation.baselines.seasonal_naive import naive_baselines_for
from fusecast.evaluation.evaluate import Evaluation, evaluate
from fusecast.evaluation.metrics import ScoreSums, central_intervals
from fusecast.evaluation.seasonal_error import seasonal_error
from fusecast.evaluation.significance import standard_error
from fusecast.explain.explanation import Explanation
from fusecast.explain.seasonality import in_words
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.predictor import Predictor
from fusecast.io.output_dir import check_results
from fusecast.io.tables import check_folder
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.reporting.explanation_figures import check_installed, check_kind
from fusecast.reporting.export import write_figures
from fusecast.reporting.page import MOST_FANS, build_report, evenly
from fusecast.reporting.report_data import (
    FanForecast,
    ForecastPlot,
    ReportData,
    ScoreBreakdown,
    SeriesScores,
    Timeline,
    TrainingCurves,
)
from fusecast.reporting.text import span
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.evaluate import evaluate_run
from fusecast.workflows.explain import explain_windows, thin_evenly
from fusecast.workflows.prepare import Prepared

MOST_SERIES = 10
MOST_WINDOWS = 2_000


@dataclass(eq=False)
class BreakdownSums:
    """What a report needs of forecasts once they are judged."""

    score_breakdown: ScoreBreakdown
    worst: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Numbers of the series of lowest skill, the lowest first."""


def score_breakdown(prepared: Prepared, predictor: NetworkPredictor, evaluation: Evaluation) -> BreakdownSums:
    """Score model and best baseline once more by step ahead and by series, on the windows of the evaluation."""
    panel, config, train_end = prepared.panel, prepared.config, prepared.parts.train_end
    index = prepared.windows("test", config.horizon)
    made = {predictor.name: predictor.predict(prepared.encoded, index)}
    for baseline in naive_baselines_for(panel, train_end, config.horizon, config.network.quantiles):
        if baseline.name == evaluation.best_baseline():
            made[baseline.name] = baseline.predict(panel, index)
    scale = seasonal_error(panel, train_end, seasons_for(panel.schema.frequency)[0])
    by_step, by_series = {}, {}
    for name, forecasts in made.items():
        by_step[name], by_series[name] = _tallies(panel, forecasts, scale)
    steps = {name: _wql(sums) for name, sums in by_step.items()}
    own, *rival = by_series.values()
    judged = np.unique(made[predictor.name].series)
    skill = np.full(panel.num_series, np.nan)
    if rival:
        with np.errstate(divide="ignore", invalid="ignore"):
            skill = 1 - _pinball(own) / _pinball(rival[0])
    # An exact baseline (a series that never moves) is better by whatever factor: such series come after those with one.
    place = np.where(np.isneginf(skill), -1e-12, np.nan_to_num(skill, nan=np.inf))
    order = judged[np.argsort(place[judged], kind="stable")]
    order = order[~np.isnan(skill[order])]
    worst = [_scores_of(panel, own, int(s), float(skill[s])) for s in order[:MOST_SERIES]]
    return BreakdownSums(
        ScoreBreakdown(
            by_step=steps,
            worst=worst,
            worse_than_baseline=int((skill[judged] < 0).sum()),
            judged=len(judged),
        ),
        order[:MOST_SERIES],
    )


def coverage_check(
    prepared: Prepared, predictor: NetworkPredictor, beside: Sequence[Predictor] = ()
) -> tuple[Evaluation, list[dict[float, float]]]:
    """Judge models at origins all over the test span, whose horizons overlap, and say what chance may do to the shares.

    Returns
    -------
    The evaluation without baselines; and of each target, interval -> standard error of the model's coverage.
    """
    panel, index = prepared.panel, thin_evenly(prepared.windows("test"), MOST_WINDOWS)
    season = seasons_for(panel.schema.frequency)[0]
    evaluation = evaluate([predictor, *beside], panel, index, train_end=prepared.parts.train_end, season=season)
    return evaluation, _chance(panel, predictor.predict(prepared.encoded, index))


def _tallies(panel: Panel, forecasts: Forecasts, scale: NDArray[np.float64]) -> tuple[ScoreSums, ScoreSums]:
    actual = actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon, targets(panel))
    size = len(panel.schema.targets)
    by_step = ScoreSums(forecasts.levels, size, forecasts.horizon)
    by_series = ScoreSums(forecasts.levels, size, panel.num_series)
    steps = np.broadcast_to(np.arange(forecasts.horizon), actual.shape[:2])
    by_step.add(forecasts.quantiles, actual, scale[forecasts.series], steps)
    by_series.add(forecasts.quantiles, actual, scale[forecasts.series], forecasts.series)
    return by_step, by_series


def _chance(panel: Panel, forecasts: Forecasts) -> list[dict[float, float]]:
    """Give, of each target, the standard error of the coverage of each interval."""
    truth = actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon)
    row = forecasts.cutoff[:, None] + np.arange(forecasts.horizon)
    time = panel.times_of(np.repeat(forecasts.series, forecasts.horizon), row.ravel()).to_physical().to_numpy()
    found: list[dict[float, float]] = [{} for _ in panel.schema.targets]
    for share, (low, high) in central_intervals(forecasts.levels).items():
        within = (truth >= forecasts.quantiles[..., low]) & (truth <= forecasts.quantiles[..., high])
        inside = np.where(np.isnan(truth), np.nan, within)
        for place, own in enumerate(found):
            own[share] = standard_error(inside[..., place].ravel(), time, forecasts.horizon)
    return found


def _wql(sums: ScoreSums) -> NDArray[np.float64]:
    return np.asarray(sums.columns()["wql"][:, 0], dtype=np.float64)


def _pinball(sums: ScoreSums) -> NDArray[np.float64]:
    return np.asarray(sums.columns()["mean_pinball"][:, 0], dtype=np.float64)


def _scores_of(panel: Panel, sums: ScoreSums, series: int, skill: float) -> SeriesScores:
    own = sums.scores_of(series)[0]
    coverage = next(iter(own.coverage.values()), float("nan"))
    return SeriesScores(
        series=str(panel.ids[series].item()), wql=own.wql, mase=own.mase, coverage=coverage, skill=skill
    )


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
    evaluation = evaluate_run(prepared, predictor, beside=beside)
    coverage, chance = coverage_check(prepared, predictor, beside)
    kept = score_breakdown(prepared, predictor, evaluation)
    explanation = explain_windows(prepared, predictor, max_windows=EXPLAINED, permutation_windows=SHUFFLED)
    everything = explain_windows(prepared, predictor, part="all", series=some_series(prepared), max_windows=EXPLAINED)
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
        apart=kept.score_breakdown,
        held=coverage,
        chance=chance,
        calibrated_by="" if calibrated is None else calibrated.conformal.method,
        curves=curves(history),
        fans=fans(prepared, predictor, future, worst=kept.worst[: MOST_FANS // 4].tolist()),
        importances=explanation.importances,
        attention=explanation.attention,
        attention_by_step=explanation.attention_by_step,
        lags=in_words(explanation.seasonal_lags, explanation.periodicities),
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
) -> list[ForecastPlot]:
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
        ForecastPlot(
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
