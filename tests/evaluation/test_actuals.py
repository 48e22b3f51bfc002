"""Actual values at the steps of forecasts, and seasonal differences as the scale of errors."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fusecast.evaluation.actuals import carry_forward, gather_actuals, seasonal_error


def test_actuals_are_missing_past_the_end_and_never_of_the_next_series(panel_of) -> None:
    panel = panel_of([1, 2, 3], [10, np.nan, 30])
    actual = gather_actuals(panel, np.array([0, 0, 1]), np.array([1, 3, 0]), 2)[..., 0]
    np.testing.assert_array_equal(actual, [[2, 3], [np.nan, np.nan], [10, np.nan]])


def test_actuals_of_a_panel_without_rows_are_missing(panel_of) -> None:
    actual = gather_actuals(panel_of(np.empty((0, 1))), np.array([0]), np.array([0]), 2)
    np.testing.assert_array_equal(actual, np.full((1, 2, 1), np.nan))


def test_values_are_carried_forward_within_their_series_alone(panel_of) -> None:
    nan = np.nan
    panel = panel_of([nan, 1, nan, nan, 2], [nan, nan, 3])
    carried = carry_forward(panel.reals["y"][:, None], panel)[:, 0]
    np.testing.assert_array_equal(carried, [nan, 1, 1, 1, 2, nan, nan, 3])


def test_seasonal_errors_agree_with_polars(a_random_panel) -> None:
    panel = a_random_panel(5)
    train_end = (panel.lengths * 3) // 4
    errors, squares = seasonal_error(panel, train_end, 7), seasonal_error(panel, train_end, 7, power=2)
    for i, name in enumerate(panel.schema.targets):
        for s in range(panel.num_series):
            y = pl.Series(panel.reals[name][panel.indptr[s] : panel.indptr[s] + train_end[s]]).fill_nan(None)
            for scale, expected in ((errors, y.diff(7).abs().mean()), (squares, (y.diff(7) ** 2).mean())):
                assert scale[s, i] == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_seasonal_error_of_a_case_solved_by_hand(panel_of) -> None:
    panel = panel_of([1, 2, 5, np.nan, 9, 100])
    # within the first five rows: abs(5 - 1), and 9 - 5; the pairs with the missing value do not count
    assert seasonal_error(panel, np.array([5]), 2).tolist() == [[4.0]]
    assert np.isnan(seasonal_error(panel, np.array([5]), 24)).all()
