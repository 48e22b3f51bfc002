from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusecast.data import arrays as panel_arrays
from fusecast.features.scaling import (
    Scales,
    compute_pooled_statistics,
    compute_statistics,
    fit_covariate,
    fit_static,
    fit_target,
)

KINDS = ["standard", "robust", "mean_abs"]
VALUES = st.floats(-1e6, 1e6, width=32, allow_subnormal=False).map(lambda value: round(value, 3))
GROUPS = st.lists(arrays(np.float64, st.integers(0, 12), elements=VALUES), min_size=1, max_size=5)


def slow(kind: str, values: np.ndarray) -> tuple[float, float]:
    if kind == "mean_abs":
        return 0.0, float(np.abs(values).mean())
    if kind == "robust":
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        spread = (high - low) / 1.3489795003921634
        return float(middle), float(spread if spread > 1e-6 * values.std() else values.std())
    return float(values.mean()), float(values.std())


@pytest.mark.parametrize("kind", KINDS)
@given(groups=GROUPS)
def test_grouped_statistics_are_those_of_each_group_alone(kind, groups):
    center, scale = compute_statistics(np.concatenate(groups), np.array([len(g) for g in groups]), kind)
    for number, group in enumerate(groups):
        if not len(group):
            assert np.isnan(center[number])
            assert np.isnan(scale[number])
            continue
        expected = slow(kind, group)
        magnitude = np.abs(group).max()
        np.testing.assert_allclose(center[number], expected[0], rtol=1e-12, atol=1e-12 * magnitude)
        np.testing.assert_allclose(scale[number], expected[1], rtol=1e-9, atol=1e-11 * magnitude)


@pytest.mark.parametrize("kind", KINDS)
@given(groups=GROUPS.filter(lambda groups: any(len(g) for g in groups)))
def test_a_target_scaled_and_scaled_back_is_the_same(kind, groups):
    values, counts = np.concatenate(groups), np.array([len(g) for g in groups])
    center, scale = fit_target(values, counts, kind).at(np.repeat(np.arange(len(groups)), counts))
    assert (scale > 0).all()
    scaled = (values - center) / scale
    np.testing.assert_allclose(scaled * scale + center, values, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1000.0])
def test_a_constant_series_has_the_scale_of_the_others_in_every_unit(unit):
    values = unit * np.array([0.1] * 7 + [1.0, 2.0] + [1.0, 4.0] + [1.0, 6.0])
    scales = fit_target(values, np.array([7, 2, 2, 2]), "standard")
    np.testing.assert_allclose(scales.scale, unit * np.array([1.5, 0.5, 1.5, 2.5]))
    np.testing.assert_allclose(scales.center, unit * np.array([0.1, 1.5, 2.5, 3.5]))


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1000.0])
def test_where_nothing_changes_the_scale_is_the_size(unit):
    scales = fit_target(unit * np.array([-3.0, -3.0, 0.0, 0.0]), np.array([2, 2]), "standard")
    assert scales.scale.tolist() == [3 * unit, 1.0]
    price = fit_covariate(unit * np.array([20.0, 20.0, 20.0]), np.array([2, 1]), "standard")
    assert (price.pooled_center, price.pooled_scale) == (20 * unit, 20 * unit)


def test_a_series_without_values_takes_the_pooled_statistics():
    values = np.array([1.0, 3.0, 10.0, 14.0])
    scales = fit_target(values, np.array([2, 0, 2]), "standard")
    assert (scales.center[1], scales.scale[1]) == (values.mean(), values.std())
    center, scale = scales.at(np.array([-1, 0]))
    assert (center.tolist(), scale.tolist()) == ([7.0, 2.0], [values.std(), 1.0])


def test_a_flag_is_left_as_it_is():
    scales = fit_covariate(np.array([0.0, 1.0, 0.0, 0.0]), np.array([3, 1]), "standard")
    assert scales.shared
    assert (scales.pooled_center, scales.pooled_scale) == (0.0, 1.0)


def test_a_covariate_that_changes_in_no_series_keeps_its_level():
    scales = fit_covariate(np.array([3.0, 3.0, 5.0, 5.0]), np.array([2, 2]), "standard")
    assert scales.shared
    assert (scales.pooled_center, scales.pooled_scale) == (4.0, 1.0)


def test_a_covariate_that_does_not_change_in_one_series_has_the_scale_of_the_others():
    scales = fit_covariate(np.array([5.0, 5.0, 0.0, 4.0, 0.0, 8.0]), np.array([2, 2, 2]), "standard")
    assert scales.center.tolist() == [5.0, 2.0, 4.0]
    assert scales.scale.tolist() == [3.0, 2.0, 4.0]


def test_a_covariate_never_seen_is_not_scaled():
    assert fit_covariate(np.empty(0), np.array([0, 0]), "standard").shared


def test_static_reals_are_scaled_over_series():
    scales = fit_static(np.array([2.0, np.nan, 6.0]), "standard")
    assert (scales.shared, scales.pooled_center, scales.pooled_scale) == (True, 4.0, 2.0)


@given(st.permutations(range(6)))
def test_pooled_statistics_do_not_depend_on_the_order_of_series(order):
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=size) * 10.0**size for size in (3, 5, 2, 7, 4, 1)]
    fitted = [
        fit_target(np.concatenate([groups[i] for i in o]), np.array([len(groups[i]) for i in o]), "standard")
        for o in (range(6), order)
    ]
    assert fitted[0].pooled_center == fitted[1].pooled_center
    assert fitted[0].pooled_scale == fitted[1].pooled_scale


@pytest.mark.parametrize("scale", [[1.0, 0.0], [1.0], [1.0, float("nan")]])
def test_damaged_statistics_are_refused(scale):
    with pytest.raises(ValueError, match="pair up"):
        Scales.from_dict({"pooled": [0.0, 1.0], "center": [0.0, 1.0], "scale": scale})


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_hardly_differ_but_for_one_stay_within_float32(kind):
    values = np.array([19991.0, 6e-304, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    center, scale = fit_target(values, np.array([8]), kind).at(np.zeros(8, dtype=np.int64))
    assert np.isfinite(((values - center) / scale).astype(np.float32)).all()
    (tiny,) = fit_target(np.array([1e-300, 3e-300]), np.array([2]), kind).scale
    assert tiny == 1.0


@pytest.mark.parametrize("kind", ["standard", "robust", "mean_abs"])
@pytest.mark.parametrize("rows", [129, 1_000, 4_099])
def test_statistics_by_blocks_are_those_of_all_rows_bit_for_bit(
    kind: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy sums by halves down to 128 values, whose order the sums by blocks follow."""
    values = np.random.default_rng(rows).lognormal(sigma=3, size=rows)
    counts = np.array([rows // 3, 0, rows - rows // 3])
    expected = compute_statistics(values, counts, kind), compute_pooled_statistics(values, kind)
    monkeypatch.setattr(panel_arrays, "BLOCK_ROWS", 128)
    found = compute_statistics(values, counts, kind), compute_pooled_statistics(values, kind)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]
