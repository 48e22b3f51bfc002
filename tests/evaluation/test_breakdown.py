"""Scores by group: each group as if it were scored alone, and the series that are forecast worst."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import gather_actuals, seasonal_error
from fusecast.evaluation.breakdown import (
    GroupedScores,
    build_groupings,
    compute_score_breakdown,
    group_by_calendar,
    group_by_step,
)
from fusecast.evaluation.metrics import score
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

LEVELS, HORIZON = (0.1, 0.5, 0.9), 4


def an_index(panel: Panel) -> WindowIndex:
    last = panel.lengths - HORIZON
    return WindowIndex(lookback=5, horizon=HORIZON, first_cutoff=np.minimum(20, last + 1), last_cutoff=last, stride=3)


def random_forecasts(panel: Panel, seed: int = 0) -> Forecasts:
    index = an_index(panel)
    series, cutoff = index.locate(np.arange(len(index)))
    shape = (len(series), HORIZON, len(panel.schema.targets), 3)
    quantiles = np.sort(np.random.default_rng(seed).normal(10, 5, size=shape), axis=-1)
    return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=LEVELS)


@pytest.mark.parametrize("name", ["all", "series", "step", "origin", "hour", "weekday", "month"])
def test_scores_of_every_group_are_those_of_its_steps_alone(name: str, a_random_panel) -> None:
    panel = a_random_panel(3)
    forecasts, train_end = random_forecasts(panel), panel.lengths // 2
    grouped = GroupedScores(panel.schema.targets, LEVELS, build_groupings(panel, an_index(panel)))
    assert set(grouped.groupings) == {"all", "series", "step", "origin", "hour", "weekday", "month"}
    actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, HORIZON)
    error_scale, square_scale = (seasonal_error(panel, train_end, 7, power=power) for power in (1, 2))
    for chunk in (slice(0, 10), slice(10, None)):
        arrays = {field: getattr(forecasts, field)[chunk] for field in ("series", "cutoff", "quantiles")}
        grouped.add(replace(forecasts, **arrays), actual[chunk], error_scale, square_scale)

    rows = forecasts.cutoff[:, None] + np.arange(HORIZON)
    times = panel.times_at(np.repeat(forecasts.series, HORIZON), rows.ravel())
    group_of_step = {
        "all": np.full(rows.size, "all"),
        "series": np.repeat([f"s{s}" for s in forecasts.series], HORIZON),
        "step": np.tile([str(h + 1) for h in range(HORIZON)], len(forecasts)),
        "origin": np.repeat([str((c - 20) // 3) for c in forecasts.cutoff], HORIZON),
        "hour": times.dt.hour().cast(pl.String).to_numpy(),
        "weekday": times.dt.strftime("%A").to_numpy(),
        "month": times.dt.month().cast(pl.String).to_numpy(),
    }[name].reshape(rows.shape)
    frame = grouped.to_frame(name)
    assert (frame["count"] > 0).all()
    scales = error_scale[forecasts.series], square_scale[forecasts.series]
    for group in np.unique(group_of_step):
        masked = np.where((group_of_step == group)[..., None], actual, np.nan)
        for target, expected in zip(
            panel.schema.targets, score(forecasts.quantiles, masked, LEVELS, *scales), strict=True
        ):
            row = frame.filter(group=str(group), target=target)
            if expected.count == 0:
                assert row.is_empty()
                continue
            assert row["by"].item() == name
            assert row["count"].item() == expected.count
            for column in ("wql", "crps", "mae", "rmse", "mase", "rmsse", "smape", "bias"):
                assert row[column].item() == pytest.approx(getattr(expected, column), rel=1e-12)
            assert row["pinball 0.9"].item() == pytest.approx(expected.pinball[0.9], rel=1e-12)
            assert row["coverage 0.8"].item() == pytest.approx(expected.coverage[0.8])


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [("1h", ["hour", "weekday", "month"]), ("1d", ["weekday", "month"]), ("1mo", ["month"]), ("1y", []), ("1i", [])],
)
def test_groupings_of_the_calendar_are_those_that_differ_between_rows(frequency, expected, panel_of) -> None:
    assert [grouping.name for grouping in group_by_calendar(panel_of([1.0], frequency=frequency))] == expected


def test_hours_are_those_of_the_time_zone_of_the_schema(panel_of) -> None:
    panel = panel_of(np.arange(3.0))
    panel = replace(
        panel,
        schema=replace(panel.schema, time_zone="Asia/Tokyo"),
        time_grid=replace(panel.time_grid, time_zone="UTC"),
    )
    hour = group_by_calendar(panel)[0]
    assert hour.assign is not None
    assert hour.assign(np.array([0]), np.array([[0, 1, 15]])).tolist() == [[9, 10, 0]]  # nine hours ahead of UTC


def a_breakdown_case(panel_of, seed: int = 0):
    rng = np.random.default_rng(seed)
    panel = panel_of(*(rng.normal(10, 2, 60) for _ in range(3)), np.full(60, 7.0))
    index = WindowIndex.between(lengths=panel.lengths, begin=40, end=60, lookback=3, horizon=HORIZON, stride=HORIZON)
    series, cutoff = index.locate(np.arange(len(index)))
    actual = gather_actuals(panel, series, cutoff, HORIZON)
    forecasts = {}
    for name, error in (("TFT", np.array([0.1, 2.0, 1.0, 0.5])), ("naive", np.array([1.0, 1.0, 1.0, 0.0]))):
        median = actual + error[series][:, None, None] * (1 + 0.1 * np.arange(HORIZON)[:, None])
        quantiles = median[..., None] + error[series][:, None, None, None] * np.array([-1.0, 0.0, 1.0])
        forecasts[name] = Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=LEVELS)
    return panel, forecasts, actual


def test_the_worst_series_come_first_and_an_exact_baseline_counts_as_better(panel_of) -> None:
    panel, forecasts, actual = a_breakdown_case(panel_of)
    breakdown = compute_score_breakdown(panel, forecasts, train_end=np.full(4, 40), season=1)
    assert [row.series for row in breakdown.worst] == ["s1", "s3", "s2", "s0"]
    skill = {row.series: row.skill for row in breakdown.worst}
    assert skill == pytest.approx({"s0": 0.9, "s1": -1.0, "s2": 0.0, "s3": -np.inf})
    assert breakdown.worse_than_baseline == 2
    assert breakdown.num_series == 4
    assert list(breakdown.by_step) == ["TFT", "naive"]
    model = forecasts["TFT"]
    for h in range(HORIZON):
        alone = score(model.quantiles[:, h : h + 1], actual[:, h : h + 1], LEVELS)[0]
        assert breakdown.by_step["TFT"][h] == pytest.approx(alone.wql)
    of_series = model.series == 1
    assert breakdown.worst[0].wql == pytest.approx(score(model.quantiles[of_series], actual[of_series], LEVELS)[0].wql)


def test_without_a_baseline_no_series_is_among_the_worst(panel_of) -> None:
    panel, forecasts, _ = a_breakdown_case(panel_of)
    breakdown = compute_score_breakdown(panel, {"TFT": forecasts["TFT"]}, train_end=np.full(4, 40), season=1)
    assert list(breakdown.worst) == []
    assert breakdown.worse_than_baseline == 0
    assert list(breakdown.by_step) == ["TFT"]


def test_grouped_scores_print_their_groupings_and_not_their_sums(a_random_panel) -> None:
    panel = a_random_panel(1)
    grouped = GroupedScores(panel.schema.targets, LEVELS, (group_by_step(HORIZON),))
    assert repr(grouped) == "GroupedScores(targets=['y0', 'y1'], groupings=['all', 'step'])"
