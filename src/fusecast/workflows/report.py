"""Collect everything that a report shows from a trained model and its data, and write the page."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fusecast._version import __version__
from fusecast.config import RunConfig
from fusecast.data.arrays import IntArray
from fusecast.data.frequency import seasons_for
from fusecast.data.future import extend_panel
from fusecast.data.panel import Panel
from fusecast.data.quality import check_quality
from fusecast.errors import ArtifactError, DataError
from fusecast.evaluation.baselines.registry import NAIVE_BASELINES, build_baselines
from fusecast.evaluation.breakdown import ScoreBreakdown, compute_score_breakdown
from fusecast.evaluation.evaluate import Evaluation, evaluate
from fusecast.evaluation.significance import coverage_standard_errors
from fusecast.explain.seasonality import describe_patterns
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.forecasts import Forecasts, Predictor
from fusecast.inference.model_bundle import Bundle, Member
from fusecast.io.atomic import write_text_atomically
from fusecast.io.documents import decode, read_bytes
from fusecast.io.output_dir import check_results_folder
from fusecast.io.tables import TableLike, check_folder
from fusecast.reporting.export import FigureKind, check_can_draw, check_figure_kind, write_report_figures
from fusecast.reporting.page import MAX_FORECAST_PLOTS, build_report, pick_evenly
from fusecast.reporting.report_data import FanForecast, ForecastPlot, ReportData, Timeline, TrainingCurves
from fusecast.reporting.text import span
from fusecast.training.callbacks.history import COLUMNS
from fusecast.training.members.ensemble import member_folder
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import predictors_to_score, stored_calibration
from fusecast.workflows.evaluate import evaluate_run
from fusecast.workflows.explain import explain_windows, thin_evenly
from fusecast.workflows.predict import choose_plan, describe_networks, predict_windows
from fusecast.workflows.prepare import Prepared

MAX_COVERAGE_WINDOWS = 2000
MAX_EXPLAINED_WINDOWS, MAX_SHUFFLED_WINDOWS = 2000, 250
HORIZONS_OF_ACTUALS = 6  # in a forecast plot; the last is forecast


def write_report(
    prepared: Prepared,
    bundle: Bundle,
    predictor: EnsemblePredictor,
    folder: Path | None,
    path: Path,
    *,
    future: TableLike | None = None,
    figures: str | Path | None = None,
    kind: FigureKind = "png",
    raw: bool = False,
    partial: bool = False,
) -> Path:
    """Write the page about a model; `folder` may hold the history of its training.

    `future` has the known columns of the steps after the last rows; None draws those steps where the calendar alone is
    known. `figures` is a folder for every figure of the page as a file of a `kind`.

    Raises before the work an ArtifactError when the folder of `path` does not exist, the kind is unknown or `figures`
    is not writable; and a ConfigError when figures are requested and what draws them is not installed.
    """
    check_folder(path)
    check_figure_kind(kind)
    if figures is not None:
        check_can_draw()
        check_results_folder(Path(figures))
    places = [] if folder is None else [member_folder(folder, number) for number in range(len(bundle.members))]
    histories = [read_history(place) for place in places]
    data = collect_report_data(prepared, bundle, predictor, histories, future, raw=raw, partial=partial)
    write_text_atomically(path, build_report(data))
    if figures is not None:
        write_report_figures(data, Path(figures), kind)
    return path


def collect_report_data(
    prepared: Prepared,
    bundle: Bundle,
    predictor: EnsemblePredictor,
    histories: Sequence[Sequence[Mapping[str, Any]]] = (),
    future: TableLike | None = None,
    *,
    raw: bool = False,
    partial: bool = False,
) -> ReportData:
    """Evaluate and explain a model and check its data: everything that the page shows.

    `histories` has the rows of the training of each network, as far as they are known; `bundle` the final networks,
    where there are any, which forecast the next steps.
    """
    networks = describe_networks(bundle)
    history = histories[0] if histories else ()
    conformal = None if raw else stored_calibration(bundle)
    scored = predictors_to_score(prepared, bundle, predictor, raw=raw)
    panel, config = prepared.panel, prepared.config
    evaluation = evaluate_run(prepared, bundle, predictor, raw=raw)
    coverage, coverage_error = evaluate_coverage(prepared, scored)
    breakdown = break_down_scores(prepared, scored[0], evaluation)
    explanation = explain_windows(
        prepared, bundle, predictor, max_windows=MAX_EXPLAINED_WINDOWS, permutation_windows=MAX_SHUFFLED_WINDOWS
    )
    whole_table = explain_windows(
        prepared, bundle, predictor, split="all", series=select_series(prepared), max_windows=MAX_EXPLAINED_WINDOWS
    )
    worst = [panel.names.index(row.series) for row in breakdown.worst]
    return ReportData(
        title=Path(config.data.partition("?")[0]).stem if config.data else ", ".join(panel.schema.targets),
        targets=panel.schema.targets,
        frequency=panel.schema.frequency,
        horizon=config.horizon,
        lookback=prepared.lookback,
        num_series=panel.num_series,
        data_facts=describe_data(prepared),
        run_facts=describe_run(config, predictor.members, history) | ({"Rows learned": networks} if networks else {}),
        quality=check_quality(panel, prepared.splits, prepared.lookback, config.horizon),
        evaluation=evaluation,
        breakdown=breakdown,
        coverage=coverage,
        coverage_error=coverage_error,
        calibration_method="" if conformal is None else conformal.method,
        calibrated_by_rows=conformal is not None and conformal.windows > 0,
        curves=training_curves(history, histories[1:]),
        forecast_plots=plot_forecasts(
            prepared, bundle, predictor, future, worst[: MAX_FORECAST_PLOTS // 4], raw=raw, partial=partial
        ),
        importances=explanation.importances,
        attention=explanation.attention,
        attention_by_step=explanation.attention_by_step,
        patterns=describe_patterns(explanation.seasonal_lags, explanation.periodicities),
        importance_over_time=whole_table.importance_over_time,
        agreement=explanation.agreement,
        timeline=Timeline.from_explanation(whole_table),
        explained_windows=f"{explanation.windows:,} windows of the test span",
        mixture=explanation.mixture,
        created=f"Created by fusecast {__version__} on {datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC",
    )


def break_down_scores(prepared: Prepared, predictor: Predictor, evaluation: Evaluation) -> ScoreBreakdown:
    """Score the model and the best baseline by step ahead and by series, on the windows of the evaluation."""
    panel, config, train_end = prepared.panel, prepared.config, prepared.splits.train_end
    index = prepared.windows("test", config.horizon)
    forecasts = {predictor.name: predictor.predict(panel, index)}
    for baseline in build_baselines(NAIVE_BASELINES, panel, train_end, config.horizon, config.network.quantiles):
        if baseline.name == evaluation.best_baseline():
            forecasts[baseline.name] = baseline.predict(panel, index)
    season = seasons_for(panel.schema.frequency)[0]
    return compute_score_breakdown(panel, forecasts, train_end=train_end, season=season)


def evaluate_coverage(
    prepared: Prepared, predictors: Sequence[Predictor]
) -> tuple[Evaluation, list[dict[float, float]]]:
    """Evaluate models at origins all over the test span, whose horizons overlap.

    Returns the evaluation without baselines; and of each target, interval -> standard error of the coverage of the
    first of them.
    """
    panel, index = prepared.panel, thin_evenly(prepared.windows("test"), MAX_COVERAGE_WINDOWS)
    season = seasons_for(panel.schema.frequency)[0]
    evaluation = evaluate(predictors, panel, index, train_end=prepared.splits.train_end, season=season)
    return evaluation, coverage_standard_errors(panel, predictors[0].predict(panel, index))


def select_series(prepared: Prepared) -> list[str]:
    """Return the names of evenly spread series, so many that all their windows can be explained: regimes show only
    where windows are dense.
    """
    counts = prepared.windows("all").counts
    series = np.flatnonzero(counts)
    limit = max(1, MAX_EXPLAINED_WINDOWS // max(1, int(np.median(counts[series])))) if len(series) else 1
    return [prepared.panel.names[s] for s in series[pick_evenly(len(series), max(2, limit))]]


def plot_forecasts(
    prepared: Prepared,
    bundle: Bundle,
    predictor: EnsemblePredictor,
    future: TableLike | None,
    worst: Sequence[int] = (),
    *,
    raw: bool = False,
    partial: bool = False,
) -> list[ForecastPlot]:
    """Return the last test window and, where it can be forecast, the future of as many series as a page shows.

    They are evenly spread, and the `worst` come after them. The future is forecast by the final networks of a bundle.
    """
    panel, horizon = prepared.panel, prepared.config.horizon
    test = prepared.windows("test", panel.num_rows, align="end")
    series = np.flatnonzero(test.counts)
    if len(series) <= MAX_FORECAST_PLOTS:
        worst = ()
    others = np.setdiff1d(series, worst)
    shown = np.array([*others[pick_evenly(len(others), MAX_FORECAST_PLOTS - len(worst))], *worst], dtype=np.int64)
    scored = predictors_to_score(prepared, bundle, predictor, raw=raw)[0]
    forecasts = {"last test window": scored.predict(panel, test.subset(shown))}
    next_steps = forecast_next_steps(prepared, bundle, predictor, future, shown, raw=raw, partial=partial)
    if next_steps is not None:
        forecasts[f"next {span(horizon, panel.schema.frequency)}"] = next_steps
    return [
        ForecastPlot(
            series=panel.names[s],
            target=target,
            note="among the worst" if s in worst else "",
            **_recent_actuals(panel, s, target, horizon),
            forecasts=tuple(
                _fan_forecast(panel, one, s, y, name) for name, one in forecasts.items() if s in one.series
            ),
        )
        for s in shown.tolist()
        for y, target in enumerate(panel.schema.targets)
    ]


def forecast_next_steps(
    prepared: Prepared,
    bundle: Bundle,
    predictor: EnsemblePredictor,
    future: TableLike | None,
    series: IntArray,
    *,
    raw: bool = False,
    partial: bool = False,
) -> Forecasts | None:
    """Forecast the steps after the last rows; None where known columns have no values there."""
    panel, config = prepared.panel, prepared.config
    known, chosen = choose_plan(prepared, future)
    try:
        extended = extend_panel(panel, config.horizon, known, chosen, partial=partial)
    except DataError:
        if future is not None:
            raise
        return None
    ends = extended.lengths - config.horizon
    index = WindowIndex.at_end(lengths=ends, lookback=prepared.lookback, horizon=config.horizon)
    numbers = np.arange(panel.num_series) if chosen is None else chosen
    shown = index.subset(np.isin(numbers, series))
    forecasts = predict_windows(prepared, bundle, predictor, extended, shown, raw=raw)
    return replace(forecasts, series=numbers[forecasts.series])


def _recent_actuals(panel: Panel, s: int, target: str, horizon: int) -> dict[str, Any]:
    length = int(panel.lengths[s])
    rows = np.arange(max(0, length - HORIZONS_OF_ACTUALS * horizon), length)
    values = panel.reals[target][panel.indptr[s] + rows]
    return {"times": panel.times_at(np.full(len(rows), s), rows).to_list(), "actual": values}


def _fan_forecast(panel: Panel, forecasts: Forecasts, s: int, y: int, name: str) -> FanForecast:
    w = int(np.flatnonzero(forecasts.series == s)[0])
    rows = forecasts.cutoff[w] + np.arange(forecasts.horizon)
    return FanForecast(
        times=panel.times_at(np.full(len(rows), s), rows).to_list(),
        quantiles=forecasts.quantiles[w, :, y],
        levels=forecasts.levels,
        name=name,
    )


def read_history(folder: Path | None) -> list[dict[str, str]]:
    """Read the training history in a run's folder; empty where there is none.

    Raise an ArtifactError where it is damaged.
    """
    if folder is None or not (path := folder / "history.csv").exists():
        return []
    try:
        rows = list(csv.DictReader(decode(read_bytes(path)).splitlines()))
        for row in rows:
            for name in COLUMNS:
                float(row[name] or "nan")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ArtifactError.unreadable(
            path, getattr(error, "strerror", None) or f"a row is damaged ({error})"
        ) from None
    return rows


def training_curves(
    history: Sequence[Mapping[str, Any]], others: Sequence[Sequence[Mapping[str, Any]]] = ()
) -> TrainingCurves | None:
    """Convert the rows of a history to curves, and those of other networks; None without rows."""
    if not history:
        return None

    epoch, train_loss, valid_loss, learning_rate = (
        [float("nan") if row.get(name) in (None, "") else float(row[name]) for row in history]
        for name in ("epoch", "train_loss", "val_loss", "lr")
    )
    return TrainingCurves(
        epoch=epoch,
        train_loss=train_loss,
        valid_loss=valid_loss,
        learning_rate=learning_rate,
        others=[curves for rows in others if (curves := training_curves(rows)) is not None],
    )


def describe_data(prepared: Prepared) -> dict[str, str]:
    """Return facts about a panel and its splits as text."""
    panel, splits = prepared.panel, prepared.splits
    lengths, series = panel.lengths, np.arange(panel.num_series)
    first, last = panel.times_at(series, np.zeros_like(lengths)), panel.times_at(series, lengths - 1)
    missing = {name: np.isnan(values).mean() for name, values in panel.reals.items()}
    shortest, longest = f"{lengths.min():,}", f"{lengths.max():,}"
    return {
        "Rows": f"{panel.num_rows:,}",
        "Series": f"{panel.num_series:,}",
        "Steps a series": shortest if shortest == longest else f"{shortest} to {longest}",
        "Time": f"{first.min()!s} to {last.max()!s}",
        "Step": panel.schema.frequency,
        "Missing values": ", ".join(f"{name} {share:.1%}" for name, share in missing.items() if share > 0) or "none",
        "Trained on": f"{splits.train_end.sum():,} rows",
        "Validated on": f"{(splits.valid_end - splits.train_end).sum():,} rows",
        "Tested on": f"{(lengths - splits.valid_end).sum():,} rows",
    }


def describe_run(config: RunConfig, members: Sequence[Member], history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return facts about the networks and their training as text."""
    facts = {
        **({"Networks": f"{len(members)}, mixed"} if len(members) > 1 else {}),
        "Parameters": f"{sum(parameter.numel() for parameter in members[0].network.parameters()):,}",
        "Hidden size": str(config.network.hidden_size),
        "Attention heads": str(config.network.num_heads),
        "Lookback": f"{config.lookback} steps",
        "Horizon": f"{config.horizon} steps",
        "Head": config.network.head,
        "Quantiles": ", ".join(f"{level:g}" for level in config.network.quantiles),
        "Batch": f"{config.training.batch} windows",
        "Learning rate": f"{config.training.rate:g}",
        "Seed": str(config.training.seed),
    }
    if history:
        last = history[-1]
        facts["Training"] = f"{len(history)} epochs, {last['step']} steps, {float(last['seconds']):.0f} s"
    return facts
