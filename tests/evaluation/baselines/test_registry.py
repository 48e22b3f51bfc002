"""The baselines by name: their seasons, their quantiles, and nothing from the future."""

from __future__ import annotations

import numpy as np
import pytest

from fusecast.errors import ConfigError
from fusecast.evaluation.baselines.registry import BASELINES, DEFAULT_BASELINES, NAIVE_BASELINES, build_baselines
from fusecast.windows.window_index import WindowIndex


def test_the_default_baselines_need_no_other_library() -> None:
    assert set(NAIVE_BASELINES) < set(DEFAULT_BASELINES) < set(BASELINES)
    assert set(BASELINES) - set(DEFAULT_BASELINES) == {"ets", "theta", "lightgbm"}


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        (
            "30m",
            ["last value", "seasonal naive 48", "seasonal naive 336", "drift", "seasonal mean 48", "seasonal mean 336"],
        ),
        ("1y", ["last value", "drift", "mean of 4 values"]),
    ],
)
def test_baselines_have_the_seasons_of_the_frequency_in_their_names(frequency, expected, panel_of) -> None:
    panel = panel_of(np.arange(400.0), frequency=frequency)
    baselines = build_baselines([*DEFAULT_BASELINES, "last"], panel, np.array([400]), 4, (0.5,))
    assert [baseline.name for baseline in baselines] == expected


def test_quantiles_of_a_baseline_never_cross(a_random_panel) -> None:
    panel = a_random_panel(3)
    index = WindowIndex(lookback=5, horizon=12, first_cutoff=np.ones(5), last_cutoff=panel.lengths)
    levels = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
    for baseline in build_baselines(DEFAULT_BASELINES, panel, panel.lengths // 2, 12, levels):
        assert (np.diff(baseline.predict(panel, index).quantiles) >= 0).all()


@pytest.mark.parametrize("name", DEFAULT_BASELINES)
def test_a_baseline_ignores_values_from_the_cutoff_on(name: str, a_random_panel) -> None:
    panel, later = a_random_panel(5), a_random_panel(5)
    cutoff = np.array([2, 30, 31, 32, 10])
    tampered = later.reals["y0"].copy()
    tampered[panel.row_in_series >= np.repeat(cutoff, panel.lengths)] = 1e9
    later.reals["y0"][:] = tampered
    index = WindowIndex(lookback=3, horizon=4, first_cutoff=cutoff, last_cutoff=cutoff)
    for before, after in zip(
        build_baselines([name], panel, cutoff, 4, (0.1, 0.5, 0.9)),
        build_baselines([name], later, cutoff, 4, (0.1, 0.5, 0.9)),
        strict=True,
    ):
        quantiles = before.predict(panel, index).quantiles
        assert np.isfinite(quantiles).all()
        np.testing.assert_array_equal(quantiles, after.predict(later, index).quantiles)


def test_an_unknown_baseline_is_refused_and_the_closest_name_suggested(panel_of) -> None:
    with pytest.raises(ConfigError, match=r"'seasonl'.*\n.*'seasonal'"):
        build_baselines(["seasonl"], panel_of([1.0, 2]), np.array([2]), 1, (0.5,))
