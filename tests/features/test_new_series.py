"""Scales of series that training never saw: from few values, from many, and from statics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.panels import make_panel

from fusecast.config import FeatureConfig
from fusecast.data.panel import Panel
from fusecast.features.new_series import LEAST_SHARE, explained_share, find_similar
from fusecast.features.preprocessor import FittedPreprocessor, Preprocessor


def panel_of_levels(levels: list[float], rows: int = 30) -> Panel:
    """Return a panel of series that are multiples of each other, with statics that tell the level."""
    panel = make_panel([rows] * len(levels))
    wave = 1 + 0.2 * np.sin(np.arange(rows))
    sizes = np.array(levels)
    return replace(
        panel,
        reals={**panel.reals, "y": (sizes[:, None] * wave).ravel()},
        static_reals={"size": sizes},
        static_categories={"region": (sizes > 100).astype(np.int32)},
    )


def fit_all_but_last(panel: Panel, kind: str = "standard") -> FittedPreprocessor:
    end = panel.lengths.copy()
    end[-1] = 0
    return Preprocessor(FeatureConfig(target_scaling=kind)).fit(panel, end)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["standard", "robust", "mean_abs"])
def test_the_scale_of_many_values_is_their_own_statistic(kind: str) -> None:
    panel = panel_of_levels([1e4, 1e3, 10.0])
    center, scale = (
        fit_all_but_last(panel, kind).encode(panel).new_series.compute_scales(np.array([0]), np.array([25]), 8)
    )
    end = np.array([30, 30, 25])
    as_trained = Preprocessor(FeatureConfig(target_scaling=kind)).fit(panel, end).scales["y"]  # type: ignore[arg-type]
    np.testing.assert_allclose([center[0, 0], scale[0, 0]], [as_trained.center[2], as_trained.scale[2]], rtol=1e-12)


@pytest.mark.parametrize("kind", ["standard", "robust", "mean_abs"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_scale_of_few_values_is_the_usual_share_of_their_level(kind: str, count: int) -> None:
    panel = panel_of_levels([1e4, 1e3, 10.0])
    fitted = fit_all_but_last(panel, kind)
    center, scale = fitted.encode(panel).new_series.compute_scales(np.array([0]), np.array([count]), 8)
    usual = 10 * fitted.scales["y"].scale[0] / 1e4
    assert 0.3 * usual < scale[0, 0] < 1.5 * usual
    assert center[0, 0] == pytest.approx(0 if kind == "mean_abs" else 10, rel=0.25)


def test_a_series_of_zeros_has_the_least_scale_of_the_training() -> None:
    panel = panel_of_levels([1e4, 1e3, 0.0])
    fitted = fit_all_but_last(panel)
    center, scale = fitted.encode(panel).new_series.compute_scales(np.array([0]), np.array([20]), 8)
    assert (center[0, 0], scale[0, 0]) == (0.0, fitted.scales["y"].scale.min())


def test_no_value_at_or_after_the_cutoff_counts() -> None:
    panel = panel_of_levels([1e4, 1e3, 10.0])
    fitted = fit_all_but_last(panel)
    later = {name: np.where(np.arange(90) >= 72, 1e9, values) for name, values in panel.reals.items()}
    one, two = (fitted.encode(each).new_series for each in (panel, replace(panel, reals=later)))
    for cutoff in (1, 5, 12):
        number = np.array([0]), np.array([cutoff])
        np.testing.assert_array_equal(one.compute_scales(*number, 4), two.compute_scales(*number, 4))
    assert (one.compute_scales(np.array([0]), np.array([13]), 4)[0] != two.compute_scales(*number, 4)[0]).any()


def test_without_a_value_the_scales_are_those_of_the_most_similar_series() -> None:
    levels = [1.0, 8.0, 9.0, 11.0, 12.0, 13.0, 99.0, 5e3, 1e4, 10.0]
    panel = panel_of_levels(levels)
    panel.reals["y"][-30:] = np.nan
    fitted = fit_all_but_last(panel)
    new = fitted.encode(panel).new_series
    center, _ = new.compute_scales(np.array([0]), np.array([20]), 8)
    np.testing.assert_allclose(center[0, 0], np.median(fitted.scales["y"].center[[1, 2, 3, 4, 5]]), rtol=1e-12)
    again = FittedPreprocessor.from_json(fitted.to_json())  # the statics and the usual values are saved
    np.testing.assert_array_equal(again.encode(panel).new_series.center, new.center)
    np.testing.assert_array_equal(again.encode(panel).new_series.usual, new.usual)
    old = replace(fitted, statics={}, usual={})  # of an earlier version: all series together
    center, scale = old.encode(panel).new_series.compute_scales(np.array([0]), np.array([20]), 8)
    assert (center[0, 0], scale[0, 0]) == (fitted.scales["y"].pooled_center, fitted.scales["y"].pooled_scale)


def test_categories_come_before_numbers() -> None:
    size, region = np.array([1.0, 2.0, 900.0, 1000.0]), np.array([1.0, 1.0, 2.0, 2.0])
    assert find_similar([(region, 2.0)], [], [1.0]).tolist() == [2, 3]
    assert find_similar([(region, 2.0)], [(size, 1.0)], [1.0]).tolist() == [2, 3]
    assert find_similar([(region, 0.0)], [], [1.0]).tolist() == []  # unknown
    assert find_similar([], [(np.arange(8.0), 7.0)], []).tolist() == [3, 4, 5, 6, 7]
    assert find_similar([], [(np.arange(8.0), np.nan)], []).tolist() == []
    assert find_similar([], [], []).tolist() == []


def test_a_category_counts_by_how_much_of_the_levels_it_explains() -> None:
    shop, product = np.repeat(np.arange(1.0, 9), 8), np.tile(np.arange(1.0, 9), 8)
    level = 2 * product + 0.1 * shop
    weights = [explained_share(shop, level), explained_share(product, level)]
    assert weights[0] < 0.1
    assert weights[1] > 0.9
    similar = find_similar([(shop, 3.0), (product, 5.0)], [], weights)
    assert similar.tolist() == [20]  # both
    known = shop != 3
    assert product[known][find_similar([(shop[known], 3.0), (product[known], 5.0)], [], weights)].tolist() == [5.0] * 7
    assert explained_share(np.arange(64.0), level) == LEAST_SHARE  # a value for each series explains nothing
