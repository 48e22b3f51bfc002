"""AutoETS and AutoTheta: as statsforecast itself makes them, blind to the future, a clear error without the library."""

from __future__ import annotations

import builtins
import warnings

import numpy as np
import pytest

from fusecast.errors import ConfigError
from fusecast.evaluation.baselines.registry import build_baselines
from fusecast.evaluation.baselines.statistical import Statistical, select_history
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def models():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's and pandas' own, as the library is imported
        return pytest.importorskip(
            "statsforecast.models", reason="the stats extra is not installed; `make tests-stats` runs these"
        )


def a_series(seed: int, length: int = 60) -> np.ndarray:
    t = np.arange(length)
    return 20 + 4 * np.sin(2 * np.pi * t / 12) + np.random.default_rng(seed).normal(size=length)


@pytest.mark.parametrize("kind", ["ets", "theta"])
def test_a_forecast_is_that_of_the_library_on_the_rows_before_the_cutoff(kind, models, panel_of) -> None:
    first, second = a_series(0), a_series(1)
    panel = panel_of(first, second, frequency="1mo")
    fitted = Statistical.fit(kind, panel, np.array([50, 48]), 12, LEVELS)
    index = WindowIndex(lookback=2, horizon=4, first_cutoff=[50, 52], last_cutoff=[51, 52])
    forecasts = fitted.predict(panel, index)
    model = {"ets": models.AutoETS, "theta": models.AutoTheta}[kind](season_length=12).fit(first[:50])
    expected = model.forward(first[:51], h=4, level=[80])
    np.testing.assert_allclose(forecasts.quantiles[1, :, 0, 0], expected["lo-80"], rtol=1e-6)
    np.testing.assert_allclose(forecasts.quantiles[1, :, 0, 1], expected["mean"], rtol=1e-6)
    np.testing.assert_allclose(forecasts.quantiles[1, :, 0, 2], expected["hi-80"], rtol=1e-6)
    tampered = panel_of(np.concatenate([first[:51], first[51:] * 100]), second * 1, frequency="1mo")
    refitted = Statistical.fit(kind, tampered, np.array([50, 48]), 12, LEVELS)
    again = refitted.predict(tampered, index)
    np.testing.assert_array_equal(again.quantiles[:2], forecasts.quantiles[:2])


@pytest.mark.parametrize("kind", ["ets", "theta"])
def test_the_season_keeps_its_phase_at_every_origin(kind, models, panel_of) -> None:
    t = np.arange(420)
    y = 20 + 12 * np.sin(2 * np.pi * t / 12) + np.random.default_rng(3).normal(0, 0.3, size=420)
    y[400] = np.nan
    panel = panel_of(y, frequency="1mo")
    fitted = Statistical.fit(kind, panel, np.array([390]), 12, LEVELS)  # on 360 rows
    index = WindowIndex(lookback=2, horizon=6, first_cutoff=[390], last_cutoff=[412])
    forecasts = fitted.predict(panel, index)
    step = forecasts.cutoff[:, None] + np.arange(6)
    expected = 20 + 12 * np.sin(2 * np.pi * step / 12)
    assert np.abs(forecasts.quantiles[:, :, 0, 1] - expected).max() < 1.5


def test_a_history_is_continued_from_the_row_that_the_model_was_fitted_from() -> None:
    values = np.arange(500.0)
    values[[*range(140, 145), 300]] = np.nan
    begin, past = select_history(values, 12)
    assert begin == past[0] == 145  # 360 rows back, and then the first that is known
    assert past[300 - 145] == 299
    again, longer = select_history(np.append(values, [500.0, 501.0]), 12, begin)
    assert again == begin
    np.testing.assert_array_equal(longer, [*past, 500.0, 501.0])


def test_a_series_that_is_constant_or_too_short_has_its_last_value_repeated(models, panel_of) -> None:
    panel = panel_of(np.full(40, 3.0), [1.0, 2.0, np.nan, 5.0], frequency="1mo")
    fitted = Statistical.fit("ets", panel, panel.lengths, 12, LEVELS)
    forecasts = fitted.predict(panel, WindowIndex.at_end(lengths=panel.lengths, lookback=1, horizon=2))
    np.testing.assert_array_equal(forecasts.quantiles[0], np.full((2, 1, 3), 3.0))
    np.testing.assert_array_equal(forecasts.quantiles[1], np.full((2, 1, 3), 5.0))


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("ets", "statsforecast", "stats"), ("theta", "statsforecast", "stats"), ("lightgbm", "lightgbm", "boosting")],
)
def test_an_absent_library_is_named_with_the_line_that_installs_it(name, library, extra, panel_of, monkeypatch) -> None:
    original_import = builtins.__import__

    def import_without(module: str, *args, **kwargs):
        if module.split(".", maxsplit=1)[0] == library:
            raise ImportError(module)
        return original_import(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", import_without)
    panel = panel_of(a_series(0))
    with pytest.raises(ConfigError, match=rf"{name}.*needs {library}.*\n.*pip install 'fusecast\[{extra}\]'"):
        build_baselines([name], panel, np.array([50]), 2, LEVELS)
