from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusecast.data.panel import Panel
from fusecast.data.schema import Column, Role, Schema
from fusecast.data.splits import check_row_spacing, record_split, restore_split, split_panel
from fusecast.data.time_grid import TimeGrid
from fusecast.errors import ConfigError, DataError

DAY = 86_400_000_000


def panel_of(*lengths: int, start: tuple[int, ...] | None = None, frequency: str = "1d") -> Panel:
    """Daily series that begin on 1 January 1970, or so many days after it."""
    schema = Schema(columns=(Column(name="y", role=Role.TARGET),), frequency=frequency)
    unit = 1 if frequency == "1i" else DAY
    return Panel(
        schema=schema,
        time_grid=TimeGrid(frequency=frequency, dtype="int64" if frequency == "1i" else "date"),
        ids=np.array([f"s{k}" for k in range(len(lengths))]),
        indptr=np.concatenate(([0], np.cumsum(lengths))),
        start=np.array(start or (0,) * len(lengths), dtype=np.int64) * unit,
        reals={"y": np.zeros(sum(lengths))},
        categories={},
        static_reals={},
        static_categories={},
        levels={},
    )


sizes = st.one_of(st.floats(0, 0.45), st.integers(0, 3))


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    validation=sizes,
    test=sizes,
    horizon=st.integers(1, 12),
)
def test_splits_never_overlap_and_have_the_requested_size(lengths, validation, test, horizon):
    panel = panel_of(*lengths, 400)
    splits = split_panel(panel, horizon, validation=validation, test=test)
    for s, length in enumerate(panel.lengths):
        train, valid = splits.train_end[s], splits.valid_end[s]
        assert 0 <= train <= valid <= length
        if (train, valid) == (length, length):
            continue
        assert train >= horizon + 1
        for rows, size in ((valid - train, validation), (length - valid, test)):
            if isinstance(size, int):
                assert rows == size * horizon
            else:
                assert rows == (max(round(size * length), horizon) if size else 0)


@pytest.mark.parametrize(
    ("validation", "test", "train_end", "valid_end"),
    [
        (0.1, 0.2, 70, 80),
        (2, 3, 50, 70),
        (0, 0.2, 80, 80),
        (0.2, 0, 80, 100),
        (0, 0, 100, 100),
        ("1970-03-01", "1970-03-31", 59, 89),
        ("1970-03-01", 1, 59, 90),
        (1, "1970-03-31", 79, 89),
        (0.001, 0.001, 80, 90),
    ],
)
def test_fractions_horizons_and_dates_state_where_the_splits_begin(validation, test, train_end, valid_end):
    splits = split_panel(panel_of(100), 10, validation=validation, test=test)
    assert (splits.train_end[0], splits.valid_end[0]) == (train_end, valid_end)


def test_a_date_between_two_stamps_begins_at_the_later_one():
    panel = panel_of(20)
    monthly = replace(
        panel, time_grid=TimeGrid(frequency="1mo", dtype="date"), schema=replace(panel.schema, frequency="1mo")
    )
    splits = split_panel(monthly, 2, validation="1970-10-02", test="1971-02-01")
    assert (splits.train_end[0], splits.valid_end[0]) == (10, 13)


def test_a_split_can_begin_at_an_integer_step():
    splits = split_panel(panel_of(100, start=(50,), frequency="1i"), 10, validation="110", test="130")
    assert (splits.train_end[0], splits.valid_end[0]) == (60, 80)


def test_a_series_too_short_to_be_split_is_used_for_training_only():
    splits = split_panel(panel_of(100, 25), 10, validation=1, test=1)
    assert splits.train_end.tolist() == [80, 25]
    assert splits.valid_end.tolist() == [90, 25]


def test_no_row_after_a_date_is_trained_on_however_short_the_series():
    splits = split_panel(panel_of(100, 100, 20, start=(0, 45, 0)), 10, validation="1970-02-10", test="1970-03-01")
    assert splits.train_end.tolist() == [40, 0, 20]
    assert splits.valid_end.tolist() == [59, 14, 20]
    mixed = split_panel(panel_of(100, 100, start=(0, 45)), 10, validation=1, test="1970-03-01")
    assert mixed.train_end.tolist() == [49, 14]
    assert mixed.valid_end.tolist() == [59, 14]


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        (
            3,
            7,
            r"none of 2 series is long enough for validation 3 and test 7: of 100 rows 0 remain .* 11 are",
        ),
        ("1971-01-01", 1, r"validation '1971-01-01' leaves no series .* one horizon; the data span 1970-01-01 to 1970"),
        (1, "1970-04-08", "test '1970-04-08' leaves no series with the 10 rows of one horizon"),
        ("1970-03-31", "1970-03-01", "validation begins at 1970-03-31 and test at 1970-03-01\nHint: validation comes"),
        ("spring", 1, "validation begins at 'spring', which is not a date"),
        ("02/03/1970", 1, "which is not a date"),
        ("1970-03-01T00:00:00Z", 1, "which is not a date without a zone"),
    ],
)
def test_an_impossible_split_is_an_error_with_the_reason(validation, test, message):
    with pytest.raises(ConfigError, match=message):
        split_panel(panel_of(100, 50), 10, validation=validation, test=test)


def test_the_start_of_a_split_of_integer_steps_must_be_a_number():
    with pytest.raises(ConfigError, match="'1970-01-01', which is not a step such as '500'"):
        split_panel(panel_of(100, frequency="1i"), 10, validation=0.15, test="1970-01-01")


def test_a_date_is_read_in_the_zone_of_the_panel():
    panel = panel_of(100)
    time_grid = TimeGrid.from_times(pl.Series(["1970-01-01"]).str.to_datetime(time_zone="Asia/Tokyo"), "1d")
    zoned = replace(panel, time_grid=time_grid)
    splits = split_panel(zoned, 10, validation="1970-03-01", test="1970-03-30T15:00:00Z")
    assert (splits.train_end[0], splits.valid_end[0]) == (59, 89)


def test_a_recorded_split_is_restored_in_a_newer_table_with_other_series():
    record = record_split(panel_of(100, 40), split_panel(panel_of(100, 40), 10, validation=1, test=1))
    newer = panel_of(120, 50, 30, start=(0, 5, 0))
    newer = replace(newer, ids=np.array(["s0", "s1", "new"]))
    splits = restore_split(newer, record)
    assert splits.train_end.tolist() == [80, 15, 0]
    assert splits.valid_end.tolist() == [90, 25, 0]


def test_a_table_with_rows_farther_apart_than_when_fitted_is_an_error():
    record = record_split(panel_of(20), split_panel(panel_of(20), 2, validation=1, test=1))
    values = np.full(20, np.nan)
    values[::4] = 1.0
    with pytest.raises(DataError, match="rows of this table are 4 steps of 1d apart or more, and those of the fitted"):
        check_row_spacing(replace(panel_of(20), reals={"y": values}), record)
    values[4::4] = np.nan  # one row is no distance
    check_row_spacing(replace(panel_of(20), reals={"y": values}), record)


def test_more_horizons_than_int64_counts_are_too_many_for_every_series():
    with pytest.raises(ConfigError, match="none of 1 series is long enough"):
        split_panel(panel_of(100), 24, validation=1, test=2**62)
