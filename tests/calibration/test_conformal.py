"""Conformal calibration: its methods, what it refuses, and its form in JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.helpers.narrow_predictor import NarrowPredictor, fit_conformal, windows

from fusecast.calibration.conformal import Conformal
from fusecast.errors import ArtifactError, ConfigError, DataError


def test_auto_is_adaptive_unless_all_forecasts_of_the_span_overlap(panel_of) -> None:
    panel = panel_of(*np.random.default_rng(10).normal(size=(30, 200)))
    for begin, end, method in ((100, 104, "cqr"), (100, 105, "adaptive")):  # two origins of three steps, and three
        auto, expected = (fit_conformal(name, panel, NarrowPredictor(), begin, end) for name in ("auto", method))
        assert auto.to_dict() == expected.to_dict()


def test_a_calibration_survives_json(panel_of) -> None:
    panel = panel_of(np.random.default_rng(7).normal(size=200), np.zeros(200))
    conformal = fit_conformal("split", panel, NarrowPredictor(), 50, 150)
    again = Conformal.from_dict(json.loads(json.dumps(conformal.to_dict(), allow_nan=False)))
    forecasts = NarrowPredictor().predict(panel, windows(panel, 150, 200))
    expected = conformal.apply(panel, forecasts).quantiles
    np.testing.assert_array_equal(again.apply(panel, forecasts).quantiles, expected)


def test_a_calibration_of_an_earlier_version_shifts_the_median_too(panel_of) -> None:
    values = fit_conformal(
        "adaptive", panel_of(np.random.default_rng(6).normal(size=200)), NarrowPredictor(), 50, 150
    ).to_dict()
    assert values.pop("shift_median") is False
    assert Conformal.from_dict(values).shift_median is True


@pytest.mark.parametrize(
    "damage",
    [
        *(
            {"method": "magic"},
            {"shift_median": 1},
            {"shifts": [1.0]},
            {"levels": None},
            {"scales": 3},
            {"usual": ["1"]},
            {"every": 0},
        ),
        *({"rate": float("nan")}, {"windows": True}, {"scales": {"a": [-1.0]}}, {"shifts": [[["x"]]]}, {"levels": [2]}),
    ],
)
def test_a_damaged_calibration_is_refused(damage, panel_of) -> None:
    values = fit_conformal(
        "cqr", panel_of(np.random.default_rng(8).normal(size=200)), NarrowPredictor(), 50, 150
    ).to_dict()
    with pytest.raises(ArtifactError, match="calibration"):
        Conformal.from_dict({**values, **damage})


def test_an_unknown_method_and_too_short_a_span_are_refused(panel_of) -> None:
    panel = panel_of(np.random.default_rng(9).normal(size=60))
    with pytest.raises(ConfigError, match="method cannot be 'aci'"):
        fit_conformal("aci", panel, NarrowPredictor(), 10, 60)
    for method in ("cqr", "split"):
        with pytest.raises(DataError, match="8 known actuals"):
            fit_conformal(method, panel, NarrowPredictor(), 50, 60)
    for method in ("auto", "adaptive"):
        with pytest.raises(DataError, match="0 known actuals"):
            fit_conformal(method, panel, NarrowPredictor(), 60, 60)


@pytest.mark.parametrize("method", ["auto", "adaptive"])
def test_too_short_a_span_widens_intervals_about_the_median(method, panel_of) -> None:
    panel = panel_of(np.random.default_rng(9).normal(size=60))
    conformal = fit_conformal(method, panel, NarrowPredictor(mean=3.0), 50, 60)
    assert (conformal.method, conformal.windows) == ("adaptive", 0)
    raw = NarrowPredictor(mean=3.0).predict(panel, windows(panel, 50, 60))
    wider = 3.0 + 1.25 * (raw.quantiles - 3.0)
    # the unit of a shift has a hundredth of the scale of the series on top of the width of the interval
    np.testing.assert_allclose(conformal.apply(panel, raw).quantiles, wider, atol=0.25 * 0.01 / 2 + 1e-9)
    np.testing.assert_allclose(conformal.apply(panel, raw).quantiles[..., 2], 3.0)
    assert Conformal.from_dict(json.loads(json.dumps(conformal.to_dict()))).to_dict() == conformal.to_dict()
    assert "25% wider, as validation rows are too few" in conformal._repr_html_()
