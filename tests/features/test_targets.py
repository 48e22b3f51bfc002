"""Targets: their transforms and inverses, the lower bound of forecasts, and what is kept of both."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusecast.config import FeatureConfig
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.errors import ArtifactError, DataWarning
from fusecast.features.preprocessor import FittedPreprocessor, Preprocessor
from fusecast.features.targets import FittedTargets, find_lower_bound, warn_below_bound

PRICES = st.floats(-1e4, 1e5, allow_nan=False, width=32)


def panel_of(**targets: Any) -> Panel:
    rows = len(next(iter(targets.values())))
    frame = pl.DataFrame({"unique_id": ["a"] * rows, "ds": np.arange(rows), **targets})
    return build_panel(frame, make_schema(frame, targets=tuple(targets)), allow_empty=True)


def fit(panel: Panel, train_end: int | None = None, **options: Any) -> FittedPreprocessor:
    end = int(panel.lengths[0]) if train_end is None else train_end
    return Preprocessor(FeatureConfig(**options)).fit(panel, [end])


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, st.integers(2, 30), elements=PRICES))
def test_asinh_is_undone_exactly_and_keeps_the_order(values: np.ndarray) -> None:
    fitted = fit(panel_of(y=values), target_transform="asinh", lower_bound="none").targets
    transformed = fitted.transform_rows(panel_of(y=values), "y")
    back = fitted.invert(transformed[:, None])[:, 0]
    np.testing.assert_allclose(back, values, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(values).max()))
    np.testing.assert_array_equal(fitted.apply(values[:, None, None])[:, 0, 0], transformed)
    assert (np.diff(transformed[np.argsort(values, kind="stable")]) >= 0).all()


def test_asinh_is_linear_among_usual_values_and_a_logarithm_far_from_them_on_both_sides() -> None:
    y = np.append(np.random.default_rng(0).normal(40, 10, 2000), [5000.0, -5000.0])
    fitted = fit(panel_of(y=y), target_transform="asinh").targets
    assert fitted.center[0] == pytest.approx(np.median(y))
    assert fitted.scale[0] == pytest.approx(10, rel=0.05)
    low, high = fitted.apply(np.array([[[39.0, 41.0]]]))[0, 0]
    assert high - low == pytest.approx(2 / fitted.scale[0], rel=0.01)
    for sign in (1, -1):
        near, far = fitted.apply(fitted.center[0] + sign * np.array([[[1e4, 1e5]]]))[0, 0]
        assert far - near == pytest.approx(sign * np.log(10), rel=1e-3)


def test_asinh_is_one_function_for_all_series_and_one_for_each_target() -> None:
    rng = np.random.default_rng(1)
    panel = panel_of(price=rng.normal(50, 5, 200), load=rng.normal(9000, 700, 200))
    fitted = fit(panel, target_transform="asinh")
    np.testing.assert_allclose(fitted.targets.center, [50, 9000], rtol=0.05)
    encoded = fitted.encode(panel)
    scaled = encoded.reals[None, :, :2].astype(np.float64)
    back = fitted.invert(scaled, encoded.center, encoded.scale)[0]
    np.testing.assert_allclose(back, np.stack([panel.reals["price"], panel.reals["load"]], axis=1), rtol=1e-5)


def test_a_constant_target_has_a_transform_too() -> None:
    panel = panel_of(y=np.full(20, 7.0))
    fitted = fit(panel, target_transform="asinh")
    assert np.isfinite(fitted.encode(panel).reals[:, 0]).all()
    assert fitted.targets.invert(fitted.targets.transform_rows(panel, "y")[:, None]).tolist() == [[7.0]] * 20


@pytest.mark.parametrize(
    ("values", "option", "bound"),
    [
        ([0.0, 3.0], "auto", 0.0),
        ([5.0, 7.0], "auto", 0.0),
        ([-0.1, 3.0], "auto", None),
        ([0.0, 3.0], "none", None),
        ([-2.0, 3.0], 1.5, 1.5),
        ([], "auto", 0.0),
    ],
)
def test_the_bound_is_zero_where_no_value_is_negative(values: list[float], option: Any, bound: float | None) -> None:
    assert find_lower_bound(np.array(values), option) == bound


def test_the_bound_is_that_of_the_training_rows_target_by_target() -> None:
    panel = panel_of(sales=[1.0, 0.0, 4.0, -3.0], change=[1.0, -1.0, 2.0, 2.0], gone=[np.nan, 2.0, 1.0, 1.0])
    fitted = fit(panel, train_end=3)
    assert fitted.targets.lowest.tolist() == [0.0, -np.inf, 0.0]
    assert fit(panel, train_end=4).targets.lowest.tolist() == [-np.inf, -np.inf, 0.0]
    below = np.full((1, 3, 3), -9.0)
    ones = np.ones((1, 3))
    assert fitted.invert(below, 0 * ones, ones)[0, 0].tolist() == [0.0, -9.0, 0.0]
    with pytest.warns(DataWarning, match=r"^1 of 4 values of 'sales' lie below 0, the lower bound of its forecasts\n"):
        warn_below_bound(panel, fitted.targets.lowest)


@pytest.mark.parametrize(("transform", "least"), [("none", -np.inf), ("log1p", 0.0), ("asinh", -np.inf)])
def test_a_preprocessor_of_an_earlier_version_has_the_bound_of_its_transform_alone(
    transform: str, least: float
) -> None:
    panel = panel_of(y=[0.0, 1.0, 2.0, 3.0])
    values = json.loads(fit(panel, target_transform=transform).to_json())
    del values["targets"], values["config"]["lower_bound"]
    again = FittedPreprocessor.from_json(json.dumps(values))
    assert again.config.lower_bound == "none"
    assert again.targets.lowest.tolist() == [least]


@pytest.mark.parametrize("options", [{}, {"target_transform": "asinh"}, {"lower_bound": -2.5}, {"lower_bound": "none"}])
def test_bounds_and_transforms_are_kept(options: dict[str, Any]) -> None:
    fitted = fit(panel_of(a=[0.0, 1.0, 2.0, 9.0], b=[-1.0, 1.0, 2.0, 9.0]), **options)
    again = FittedPreprocessor.from_json(fitted.to_json())
    assert again.to_json() == fitted.to_json()
    for name in ("lowest", "center", "scale"):
        np.testing.assert_array_equal(getattr(again.targets, name), getattr(fitted.targets, name))


@pytest.mark.parametrize(
    "damage",
    [
        {"lowest": [0.0]},
        {"lowest": [0.0, "x"]},
        {"scale": [1.0, 0.0]},
        {"center": [0.0]},
        {"center": [0.0, None]},
        {"scale": "12"},
    ],
)
def test_damaged_facts_of_targets_are_refused(damage: dict[str, Any]) -> None:
    values = json.loads(fit(panel_of(a=[0.0, 1.0], b=[-1.0, 1.0])).to_json())
    values["targets"] |= damage
    with pytest.raises(ArtifactError, match="the preprocessor"):
        FittedPreprocessor.from_json(json.dumps(values))


def test_nothing_is_known_of_targets_of_an_earlier_version() -> None:
    fitted = FittedTargets.without_facts(FeatureConfig(), count=2)
    assert fitted.to_dict() == {"lowest": [None, None], "center": [0.0, 0.0], "scale": [1.0, 1.0]}
