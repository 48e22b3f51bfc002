from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusecast.data.panel import Panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import Column, Role, Schema
from fusecast.errors import ConfigError, SchemaError
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.sample_paths import StepDependence, sample_paths

START = datetime(2023, 12, 30, 22)
HOURLY = Schema(columns=(Column(name="y", role=Role.TARGET),), frequency="1h")


def two_series(schema: Schema, times: list[datetime] | list[int]) -> Panel:
    """Two series of 40 and 25 rows."""
    frame = {"unique_id": ["s0"] * 40 + ["s1"] * 25, "ds": [*times[:40], *times[:25]]}
    values = np.arange(65.0)
    return build_panel(pl.DataFrame({**frame, **dict.fromkeys(schema.targets, values)}), schema)


PANEL = two_series(HOURLY, [START + timedelta(hours=h) for h in range(40)])


def forecasts(levels=(0.1, 0.5, 0.9), *, targets: int = 1, windows: int = 2, horizon: int = 3) -> Forecasts:
    shape = (windows, horizon, targets, len(levels))
    return Forecasts(
        series=np.arange(windows) % 2,
        cutoff=np.array([40, 24] * windows)[:windows],
        quantiles=np.arange(np.prod(shape), dtype=np.float64).reshape(shape),
        levels=levels,
    )


def test_a_table_has_a_row_for_each_window_and_step():
    table = forecasts().to_frame(PANEL)
    assert table.columns == ["unique_id", "ds", "cutoff", "step", "y_hat", "q0.1", "q0.5", "q0.9"]
    assert table["unique_id"].to_list() == ["s0"] * 3 + ["s1"] * 3
    assert table["ds"].to_list() == [START + timedelta(hours=h) for h in (40, 41, 42, 24, 25, 26)]
    assert table["cutoff"].to_list() == [START + timedelta(hours=h) for h in (39, 39, 39, 23, 23, 23)]
    assert table["step"].to_list() == [1, 2, 3, 1, 2, 3]
    assert table["q0.1"].to_list() == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]
    assert table["y_hat"].to_list() == table["q0.5"].to_list() == [1.0, 4.0, 7.0, 10.0, 13.0, 16.0]


def test_levels_that_six_digits_do_not_tell_apart_keep_columns_of_their_own():
    table = forecasts((0.5, 0.99999991, 0.99999995)).to_frame(PANEL)
    assert table.columns[4:] == ["y_hat", "q0.5", "q0.99999991", "q0.99999995"]


def test_several_targets_have_columns_of_their_own():
    columns = (Column(name="a", role=Role.TARGET), Column(name="b", role=Role.TARGET))
    table = forecasts((0.5,), targets=2).to_frame(two_series(Schema(columns=columns, frequency="1i"), list(range(40))))
    assert table.columns[4:] == ["a:y_hat", "a:q0.5", "b:y_hat", "b:q0.5"]
    assert table["b:q0.5"].to_list() == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]


def test_integer_steps_are_numbered_on():
    table = forecasts().to_frame(two_series(replace(HOURLY, frequency="1i"), list(range(40))))
    assert table["ds"].to_list() == [40, 41, 42, 24, 25, 26]
    assert table["cutoff"].to_list() == [39, 39, 39, 23, 23, 23]


def test_a_table_whose_id_has_the_name_of_another_column_is_refused():
    panel = replace(PANEL, schema=replace(HOURLY, id="step"))
    with pytest.raises(SchemaError, match="column 'step' has the name of a column of every forecast table"):
        forecasts().to_frame(panel)


@given(
    arrays(np.float64, (2, 3, 1, 4), elements=st.floats(-100, 100)),
    arrays(np.float64, (2, 3, 1), elements=st.floats(-100, 100)),
)
def test_sorting_puts_quantiles_in_order_and_never_costs_pinball_loss(quantiles, actual):
    levels = (0.1, 0.4, 0.6, 0.9)
    crossed = Forecasts(series=np.zeros(2, int), cutoff=np.ones(2, int), quantiles=quantiles, levels=levels)
    straight = crossed.sorted()
    assert (np.diff(straight.quantiles, axis=-1) >= 0).all()

    def loss(values):
        error = actual[..., None] - values
        return np.maximum(np.array(levels) * error, (np.array(levels) - 1) * error).sum()

    assert loss(straight.quantiles) <= loss(quantiles) + 1e-9


def test_the_median_lies_between_its_neighbours_when_it_was_not_forecast():
    np.testing.assert_allclose(forecasts((0.4, 0.8)).median()[0, 0], [0.25])
    np.testing.assert_allclose(forecasts((0.7, 0.8)).median()[0, 0], [0.0])
    np.testing.assert_allclose(forecasts((0.1, 0.2)).median()[0, 0], [1.0])


def test_no_other_levels_follow_from_a_single_one():
    single = forecasts(levels=(0.5,))
    assert single.at_levels([0.5]).levels == (0.5,)
    with pytest.raises(ConfigError, match=r"one quantile level, 0.5, from which no others follow\nHint: fit with"):
        single.at_levels([0.1, 0.5])
    with pytest.raises(ConfigError, match=r"one quantile level, 0.5"):
        sample_paths(single, StepDependence(levels=np.full((1, 3), 0.5)), 2, method="independent")


def test_its_text_has_sizes_and_no_arrays():
    assert repr(forecasts()) == "Forecasts(2 windows, horizon=3, levels=(0.1, 0.5, 0.9))"
