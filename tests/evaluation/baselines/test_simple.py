"""Last value, seasonal naive, drift and seasonal means: by hand, against loops, and blind to the future."""

from __future__ import annotations

import numpy as np
import pytest

from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.baselines.simple import Drift, SeasonalMean, SeasonalNaive
from fusecast.evaluation.evaluate import evaluate
from fusecast.io.tables import read_table
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.1, 0.25, 0.5, 0.9)
NAN = float("nan")


def every_window(panel, horizon: int, first: int = 1) -> WindowIndex:
    """All cutoffs of every series, those past the last actual included."""
    return WindowIndex(
        lookback=5,
        horizon=horizon,
        first_cutoff=np.full(panel.num_series, first),
        last_cutoff=panel.lengths.copy(),
    )


def slow_point(y: np.ndarray, cutoff: int, step: int, season: int, typical: float) -> float:
    row = cutoff + step
    while row >= cutoff:
        row -= season
    while row >= 0:
        if not np.isnan(y[row]):
            return y[row]
        row -= season
    for row in range(cutoff - 1, -1, -1):
        if not np.isnan(y[row]):
            return y[row]
    return typical


def slow_spread(whole: list[np.ndarray], ends: np.ndarray, s: int, step: int, season: int, horizon: int) -> list[float]:
    def differences(numbers: list[int], seasons: int) -> list[float]:
        lag = seasons * season
        pairs = [whole[n][t] - whole[n][t - lag] for n in numbers for t in range(lag, ends[n])]
        return [d for d in pairs if not np.isnan(d)]

    reached = step // season + 1
    reach = (horizon - 1) // season + 1
    for numbers in ([s], list(range(len(whole)))):
        for seasons in (*range(reached, 0, -1), *range(reached + 1, reach + 1)):
            if known := differences(numbers, seasons):
                return [
                    0.0 if q == 0.5 else (min if q < 0.5 else max)(0.0, float(np.quantile(known, q))) for q in LEVELS
                ]
    return [0.0] * len(LEVELS)


@pytest.mark.parametrize("season", [1, 7, 11])
@pytest.mark.parametrize("horizon", [3, 16])
def test_the_seasonal_naive_agrees_with_a_slow_loop(season: int, horizon: int, a_random_panel) -> None:
    panel = a_random_panel(season + horizon)
    train_end = (panel.lengths * 2) // 3
    forecasts = (
        SeasonalNaive(season=season, levels=LEVELS)
        .fit(panel, train_end, horizon)
        .predict(panel, every_window(panel, horizon))
    )
    for number, name in enumerate(panel.schema.targets):
        series = [panel.reals[name][a:b] for a, b in zip(panel.indptr[:-1], panel.indptr[1:], strict=True)]
        typical = float(np.nanmedian(np.concatenate([y[:end] for y, end in zip(series, train_end, strict=True)])))
        expected = [
            [
                slow_point(series[s], c, h, season, typical)
                + np.array(slow_spread(series, train_end, s, h, season, horizon))
                for h in range(horizon)
            ]
            for s, c in zip(forecasts.series, forecasts.cutoff, strict=True)
        ]
        np.testing.assert_allclose(forecasts.quantiles[:, :, number], expected, rtol=1e-12)


def test_a_series_without_training_rows_has_the_spread_of_all_series(panel_of) -> None:
    """Without a spread its intervals would be points, and any model would be better."""
    rng = np.random.default_rng(0)
    panel = panel_of(*(rng.normal(0, 1, 60) for _ in range(3)))
    fitted = SeasonalNaive(season=7, levels=LEVELS).fit(panel, np.array([40, 40, 0]), 5)
    quantiles = fitted.predict(panel, every_window(panel, 5, first=50)).quantiles
    width = quantiles[:, 0, 0, -1] - quantiles[:, 0, 0, 0]
    narrow, wide = sorted(width[[0, 11]])
    assert 1 < narrow < width[-1] < wide


def test_the_seasonal_naive_repeats_the_last_season_over_a_long_horizon(panel_of) -> None:
    panel = panel_of([9, 9, 1, 2, 3])
    index = WindowIndex(lookback=3, horizon=7, first_cutoff=np.array([5]), last_cutoff=np.array([5]))
    forecasts = SeasonalNaive(season=3, levels=(0.5,)).fit(panel, np.array([5]), 7).predict(panel, index)
    assert forecasts.quantiles.ravel().tolist() == [1, 2, 3, 1, 2, 3, 1]


def test_windows_with_less_history_than_a_season_fall_back_to_the_last_value(panel_of) -> None:
    panel = panel_of([4, 5, 6, 7])
    index = WindowIndex(lookback=3, horizon=2, first_cutoff=np.array([3]), last_cutoff=np.array([3]))
    forecasts = SeasonalNaive(season=24, levels=(0.1, 0.5, 0.9)).fit(panel, np.array([4]), 2).predict(panel, index)
    assert (forecasts.quantiles == 6).all()


@pytest.mark.parametrize("season", [1, 7])
def test_the_seasonal_naive_ignores_values_from_the_cutoff_on(season: int, a_random_panel) -> None:
    panel = a_random_panel(1)
    fitted = SeasonalNaive(season=season, levels=LEVELS).fit(panel, panel.lengths // 2, 9)
    cutoff = panel.lengths // 2
    index = WindowIndex(lookback=5, horizon=9, first_cutoff=cutoff, last_cutoff=cutoff)
    before = fitted.predict(panel, index).quantiles
    for values in panel.reals.values():
        for start, end, c in zip(panel.indptr[:-1], panel.indptr[1:], cutoff, strict=True):
            values[start + c : end] = 1e6
    after = fitted.predict(panel, index).quantiles
    again = SeasonalNaive(season=season, levels=LEVELS).fit(panel, cutoff, 9).predict(panel, index).quantiles
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(again, before)


@pytest.mark.parametrize("season", [1, 7])
def test_the_seasonal_naive_depends_on_values_before_the_cutoff(season: int, a_random_panel) -> None:
    panel = a_random_panel(1)
    fitted = SeasonalNaive(season=season, levels=LEVELS).fit(panel, panel.lengths // 2, 9)
    index = every_window(panel, 9, first=10)
    before = fitted.predict(panel, index).quantiles
    for values in panel.reals.values():
        values[:] = values + 1
    assert not np.array_equal(fitted.predict(panel, index).quantiles, before)


def test_intervals_of_the_last_value_have_their_nominal_coverage_on_a_series_without_drift(panel_of) -> None:
    rng = np.random.default_rng(0)
    panel = panel_of(rng.normal(size=20_000))
    index = WindowIndex(lookback=1, horizon=1, first_cutoff=np.array([10_000]), last_cutoff=np.array([19_999]))
    forecasts = SeasonalNaive(season=1).fit(panel, np.array([10_000]), 1).predict(panel, index)
    actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, 1)
    inside = (forecasts.quantiles[..., 0] <= actual) & (actual <= forecasts.quantiles[..., 2])
    assert inside.mean() == pytest.approx(0.8, abs=0.02)


def test_the_seasonal_naive_scores_what_the_m4_competition_published(dataset) -> None:
    frame = read_table(dataset("m4_hourly"))
    panel = build_panel(frame, make_schema(frame, id="unique_id", time="ds", targets=("y",)))
    end = panel.lengths - 48
    index = WindowIndex(lookback=24, horizon=48, first_cutoff=end, last_cutoff=end)
    naive = SeasonalNaive(season=24, levels=(0.5,)).fit(panel, end, 48)
    evaluation = evaluate([naive], panel, index, train_end=end, season=24)
    # Makridakis, Spiliotis and Assimakopoulos (2020): sNaive, hourly series, MASE 1.193
    assert evaluation.scores["seasonal naive 24"][0].mase == pytest.approx(1.193, abs=0.0005)


def one_window(length: int, horizon: int) -> WindowIndex:
    return WindowIndex.at_end(lengths=[length], lookback=1, horizon=horizon)


def test_drift_continues_the_line_from_first_to_last(panel_of) -> None:
    panel = panel_of([1.0, 9, 0, 7])
    forecasts = Drift(levels=(0.5,)).fit(panel, np.array([4]), 1).predict(panel, one_window(4, 3))
    np.testing.assert_allclose(forecasts.quantiles[0, :, 0, 0], [9, 11, 13])


def test_drift_counts_from_the_known_values(panel_of) -> None:
    panel = panel_of([NAN, 1.0, NAN, 5, NAN])  # slope 2 a step; the last known lies one step before the end
    forecasts = Drift(levels=(0.5,)).fit(panel, np.array([5]), 1).predict(panel, one_window(5, 2))
    np.testing.assert_allclose(forecasts.quantiles[0, :, 0, 0], [9, 11])


def test_a_seasonal_mean_averages_the_same_position_of_the_last_seasons(panel_of) -> None:
    panel = panel_of([0.0, 100, 1, 10, 2, 20, 3, NAN])
    fitted = SeasonalMean(season=2, seasons=3, levels=(0.5,)).fit(panel, np.array([8]), 4)
    points = fitted.predict(panel, one_window(8, 4)).quantiles[0, :, 0, 0]
    np.testing.assert_allclose(points, [(1 + 2 + 3) / 3, (10 + 20) / 2, (1 + 2 + 3) / 3, (10 + 20) / 2])


@pytest.mark.parametrize("formula", [Drift(), SeasonalMean(season=7), SeasonalMean(season=1, seasons=3)])
def test_the_spread_is_that_of_the_errors_in_training(formula, panel_of) -> None:
    rng = np.random.default_rng(0)
    panel = panel_of(rng.normal(size=90), rng.normal(size=70))
    train_end = np.array([80, 60])
    fitted = formula.fit(panel, train_end, 3)
    for s in range(2):
        values = panel.reals["y"][panel.indptr[s] :][: panel.lengths[s]]
        cutoffs = np.arange(train_end[s] - 3, formula.min_history - 1, -1)
        points = [
            formula.forecast_points(panel, panel.reals["y"][:, None], np.array([s]), c + np.arange(3)[None])
            for c in cutoffs
        ]
        errors = [values[c + 1] - point[0, 1, 0] for c, point in zip(cutoffs, points, strict=True)]
        expected = np.quantile(errors, [0.1, 0.9])
        np.testing.assert_allclose(fitted.spread[s, 1, 0, [0, 2]], [min(expected[0], 0), max(expected[1], 0)])
        assert fitted.spread[s, 1, 0, 1] == 0


@pytest.mark.parametrize("formula", [SeasonalNaive(season=3), Drift(), SeasonalMean(season=3)])
def test_steps_beyond_the_horizon_of_the_fit_have_the_spread_of_its_last_step(formula, panel_of) -> None:
    panel = panel_of(np.random.default_rng(0).normal(size=60))
    fitted = formula.fit(panel, np.array([60]), 5)
    quantiles = fitted.predict(panel, one_window(60, 9)).quantiles[0, :, 0]
    spread = quantiles - quantiles[:, [1]]
    np.testing.assert_allclose(spread[5:], np.broadcast_to(spread[4], (4, 3)))


def test_a_fitted_baseline_prints_its_formula_and_not_its_arrays(panel_of) -> None:
    fitted = SeasonalNaive(season=2).fit(panel_of([1.0, 2, 3]), np.array([3]), 1)
    assert repr(fitted) == "FittedFormula(name='seasonal naive 2')"
