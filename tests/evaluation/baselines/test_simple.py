"""Drift and seasonal means: by hand, against loops, and blind to the future."""

from __future__ import annotations

import numpy as np
import pytest

from fusecast.errors import ConfigError
from fusecast.evaluation.baselines.registry import build_baselines
from fusecast.evaluation.baselines.simple import Drift, SeasonalMean
from fusecast.windows.window_index import WindowIndex

NAN = float("nan")


def one_window(length: int, horizon: int) -> WindowIndex:
    return WindowIndex.at_end(lengths=[length], lookback=1, horizon=horizon)


def test_drift_goes_on_along_the_line_from_first_to_last(panel_of) -> None:
    panel = panel_of([1.0, 9, 0, 7])
    forecasts = Drift(levels=(0.5,)).fit(panel, np.array([4]), 1).predict(panel, one_window(4, 3))
    np.testing.assert_allclose(forecasts.quantiles[0, :, 0, 0], [9, 11, 13])


def test_drift_counts_from_the_known_values(panel_of) -> None:
    panel = panel_of([NAN, 1.0, NAN, 5, NAN])  # slope 2 a step; the last known lies one step before the end
    forecasts = Drift(levels=(0.5,)).fit(panel, np.array([5]), 1).predict(panel, one_window(5, 2))
    np.testing.assert_allclose(forecasts.quantiles[0, :, 0, 0], [9, 11])


def test_a_seasonal_mean_averages_the_same_place_of_the_last_seasons(panel_of) -> None:
    panel = panel_of([0.0, 100, 1, 10, 2, 20, 3, NAN])
    forecasts = SeasonalMean(season=2, seasons=3, levels=(0.5,)).fit(panel, np.array([8]), 4)
    made = forecasts.predict(panel, one_window(8, 4)).quantiles[0, :, 0, 0]
    np.testing.assert_allclose(made, [(1 + 2 + 3) / 3, (10 + 20) / 2, (1 + 2 + 3) / 3, (10 + 20) / 2])


@pytest.mark.parametrize("formula", [Drift(), SeasonalMean(season=7), SeasonalMean(season=1, seasons=3)])
def test_the_spread_is_that_of_the_errors_in_training(formula, panel_of) -> None:
    rng = np.random.default_rng(0)
    panel = panel_of(rng.normal(size=90), rng.normal(size=70))
    train_end = np.array([80, 60])
    fitted = formula.fit(panel, train_end, 3)
    for s in range(2):
        values = panel.reals["y"][panel.indptr[s] :][: panel.lengths[s]]
        cutoffs = np.arange(train_end[s] - 3, formula.history - 1, -1)
        errors = [
            values[c + 1] - formula.points(panel, panel.reals["y"][:, None], np.array([s]), np.array([c]), 3)[0, 1, 0]
            for c in cutoffs
        ]
        expected = np.quantile(errors, [0.1, 0.9])
        np.testing.assert_allclose(fitted.spread[s, 1, 0, [0, 2]], [min(expected[0], 0), max(expected[1], 0)])
        assert fitted.spread[s, 1, 0, 1] == 0


@pytest.mark.parametrize("name", ["last", "seasonal", "drift", "mean"])
def test_a_baseline_sees_nothing_after_its_cutoff(name: str, a_random_panel) -> None:
    panel, later = a_random_panel(5), a_random_panel(5)
    cutoff = np.array([2, 30, 31, 32, 10])
    tampered = later.reals["y0"].copy()
    row = np.arange(panel.num_rows) - np.repeat(panel.indptr[:-1], panel.lengths)
    tampered[row >= np.repeat(cutoff, panel.lengths)] = 1e9
    later.reals["y0"][:] = tampered
    index = WindowIndex(lookback=3, horizon=4, first_cutoff=cutoff, last_cutoff=cutoff)
    for before, after in zip(
        build_baselines([name], panel, cutoff, 4, (0.1, 0.5, 0.9)),
        build_baselines([name], later, cutoff, 4, (0.1, 0.5, 0.9)),
        strict=True,
    ):
        made = before.predict(panel, index).quantiles
        assert np.isfinite(made).all()
        np.testing.assert_array_equal(made, after.predict(later, index).quantiles)


def test_an_unknown_baseline_is_named_with_those_there_are(panel_of) -> None:
    with pytest.raises(ConfigError, match=r"'seasonl'.*\n.*'seasonal'"):
        build_baselines(["seasonl"], panel_of([1.0, 2]), np.array([2]), 1, (0.5,))
