from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fusecast.data.panel_builder import validate
from fusecast.data.schema import make_schema
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import actuals
from fusecast.evaluation.baselines.seasonal_naive import LastValue, SeasonalNaive, naive_baselines_for
from fusecast.evaluation.evaluate import evaluate
from fusecast.evaluation.seasonal_error import seasonal_error
from fusecast.io.tables import read_table
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.1, 0.25, 0.5, 0.9)


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

    own = step // season + 1
    reach = (horizon - 1) // season + 1
    for numbers in ([s], list(range(len(whole)))):
        for seasons in (*range(own, 0, -1), *range(own + 1, reach + 1)):
            if found := differences(numbers, seasons):
                return [
                    0.0 if q == 0.5 else (min if q < 0.5 else max)(0.0, float(np.quantile(found, q))) for q in LEVELS
                ]
    return [0.0] * len(LEVELS)


@pytest.mark.parametrize("season", [1, 7, 11])
@pytest.mark.parametrize("horizon", [3, 16])
def test_baselines_agree_with_a_slow_loop(season: int, horizon: int, a_random_panel) -> None:
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


def test_a_series_that_was_not_trained_on_borrows_the_spread_of_the_others(panel_of) -> None:
    """Without one its intervals were points, and any model looked good beside them."""
    rng = np.random.default_rng(0)
    panel = panel_of(*(rng.normal(0, 1, 60) for _ in range(3)))
    fitted = SeasonalNaive(season=7, levels=LEVELS).fit(panel, np.array([40, 40, 0]), 5)
    made = fitted.predict(panel, every_window(panel, 5, first=50)).quantiles
    narrow, wide = sorted((made[:22, 0, 0, -1] - made[:22, 0, 0, 0])[[0, 11]])
    assert 1 < narrow < made[-1, 0, 0, -1] - made[-1, 0, 0, 0] < wide


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
def test_a_baseline_ignores_what_happens_from_the_cutoff_on(season: int, a_random_panel) -> None:
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
def test_a_baseline_does_listen_to_what_happened_before_the_cutoff(season: int, a_random_panel) -> None:
    panel = a_random_panel(1)
    fitted = SeasonalNaive(season=season, levels=LEVELS).fit(panel, panel.lengths // 2, 9)
    index = every_window(panel, 9, first=10)
    before = fitted.predict(panel, index).quantiles
    for values in panel.reals.values():
        values[:] = values + 1
    assert not np.array_equal(fitted.predict(panel, index).quantiles, before)


def test_quantiles_of_a_baseline_never_cross(a_random_panel) -> None:
    panel = a_random_panel(3)
    for fitted in naive_baselines_for(panel, panel.lengths // 2, 12, (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)):
        assert (np.diff(fitted.predict(panel, every_window(panel, 12)).quantiles) >= 0).all()


def test_intervals_cover_what_they_promise_on_a_series_without_drift(panel_of) -> None:
    rng = np.random.default_rng(0)
    panel = panel_of(rng.normal(size=20_000))
    index = WindowIndex(lookback=1, horizon=1, first_cutoff=np.array([10_000]), last_cutoff=np.array([19_999]))
    forecasts = LastValue((0.1, 0.5, 0.9)).fit(panel, np.array([10_000]), 1).predict(panel, index)
    y = actuals(panel, forecasts.series, forecasts.cutoff, 1)
    inside = (forecasts.quantiles[..., 0] <= y) & (y <= forecasts.quantiles[..., 2])
    assert inside.mean() == pytest.approx(0.8, abs=0.02)


def test_baselines_have_the_seasons_of_the_frequency_in_their_names(panel_of) -> None:
    panel = panel_of(np.arange(400.0), frequency="30m")
    names = [fitted.name for fitted in naive_baselines_for(panel, np.array([400]), 4, (0.5,))]
    assert names == ["last value", "seasonal naive 48", "seasonal naive 336"]


def test_a_season_of_no_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="season must be at least 1, not 0"):
        SeasonalNaive(season=0)


def test_seasonal_error_agrees_with_polars(a_random_panel) -> None:
    panel = a_random_panel(5)
    train_end = (panel.lengths * 3) // 4
    errors = seasonal_error(panel, train_end, 7)
    for number, name in enumerate(panel.schema.targets):
        for s in range(panel.num_series):
            y = pl.Series(panel.reals[name][panel.indptr[s] : panel.indptr[s] + train_end[s]]).fill_nan(None)
            expected = y.diff(7).abs().mean()
            assert errors[s, number] == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_seasonal_error_of_a_case_solved_by_hand(panel_of) -> None:
    panel = panel_of([1, 2, 5, np.nan, 9, 100])
    # within the first five rows: abs(5 - 1), and 9 - 5; the pairs with the missing value do not count
    assert seasonal_error(panel, np.array([5]), 2).tolist() == [[4.0]]
    assert np.isnan(seasonal_error(panel, np.array([5]), 24)).all()


def test_the_seasonal_naive_scores_what_the_m4_competition_published(dataset) -> None:
    frame = read_table(dataset("m4_hourly"))
    panel = validate(frame, make_schema(frame, id="unique_id", time="ds", targets=("y",)))
    end = panel.lengths - 48
    index = WindowIndex(lookback=24, horizon=48, first_cutoff=end, last_cutoff=end)
    naive = SeasonalNaive(season=24, levels=(0.5,)).fit(panel, end, 48)
    evaluation = evaluate([naive], panel, index, train_end=end, season=24)
    # Makridakis, Spiliotis and Assimakopoulos (2020): sNaive, hourly series, MASE 1.193
    assert evaluation.scores["seasonal naive 24"][0].mase == pytest.approx(1.193, abs=0.0005)
