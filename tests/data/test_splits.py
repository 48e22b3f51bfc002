from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusecast.data.panel import Panel
from fusecast.data.schema import Column, Role, Schema
from fusecast.data.splits import SplitConfig, split
from fusecast.data.time_grid import TimeGrid
from fusecast.errors import ConfigError

DAY = 86_400_000_000


def panel_of(*lengths: int, start: tuple[int, ...] | None = None, frequency: str = "1d") -> Panel:
    """Daily series that begin on 1 January 1970, or so many days after it."""
    schema = Schema(columns=(Column(name="y", role=Role.TARGET),), frequency=frequency)
    unit = 1 if frequency == "1i" else DAY
    return Panel(
        schema=schema,
        clock=TimeGrid(frequency=frequency, dtype="int64" if frequency == "1i" else "date"),
        ids=np.array([f"s{k}" for k in range(len(lengths))]),
        indptr=np.concatenate(([0], np.cumsum(lengths))),
        start=np.array(start or (0,) * len(lengths), dtype=np.int64) * unit,
        reals={"y": np.zeros(sum(lengths))},
        categories={},
        static_reals={},
        static_categories={},
        levels={},
    )


shares = st.one_of(st.floats(0, 0.45), st.integers(0, 3))


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    validation=shares,
    test=shares,
    horizon=st.integers(1, 12),
)
def test_parts_never_overlap_and_are_as_large_as_asked(lengths, validation, test, horizon):
    panel = panel_of(*lengths, max(400, 0))
    parts = split(panel, SplitConfig(validation=validation, test=test), horizon)
    for s, length in enumerate(panel.lengths):
        train, valid = parts.train_end[s], parts.valid_end[s]
        assert 0 <= train <= valid <= length
        if (train, valid) == (length, length):
            continue
        assert train >= horizon + 1
        for rows, share in ((valid - train, validation), (length - valid, test)):
            wanted = share * horizon if isinstance(share, int) else max(round(share * length), horizon) if share else 0
            assert rows == wanted


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
def test_fractions_horizons_and_dates_say_where_the_parts_begin(validation, test, train_end, valid_end):
    parts = split(panel_of(100), SplitConfig(validation=validation, test=test), 10)
    assert (parts.train_end[0], parts.valid_end[0]) == (train_end, valid_end)


def test_a_date_between_two_stamps_begins_at_the_later_one():
    panel = panel_of(20)
    monthly = replace(
        panel, clock=TimeGrid(frequency="1mo", dtype="date"), schema=replace(panel.schema, frequency="1mo")
    )
    parts = split(monthly, SplitConfig(validation="1970-10-02", test=date(1971, 2, 1)), 2)
    assert (parts.train_end[0], parts.valid_end[0]) == (10, 13)


def test_integer_steps_can_be_named():
    parts = split(panel_of(100, start=(50,), frequency="1i"), SplitConfig(validation="110", test="130"), 10)
    assert (parts.train_end[0], parts.valid_end[0]) == (60, 80)


def test_a_series_too_short_to_be_split_goes_wholly_to_training():
    parts = split(panel_of(100, 25), SplitConfig(validation=1, test=1), 10)
    assert parts.train_end.tolist() == [80, 25]
    assert parts.valid_end.tolist() == [90, 25]


def test_no_row_after_a_date_is_trained_on_however_short_the_series():
    dated = SplitConfig(validation="1970-02-10", test="1970-03-01")
    parts = split(panel_of(100, 100, 20, start=(0, 45, 0)), dated, 10)
    assert parts.train_end.tolist() == [40, 0, 20]
    assert parts.valid_end.tolist() == [59, 14, 20]
    mixed = split(panel_of(100, 100, start=(0, 45)), SplitConfig(validation=1, test="1970-03-01"), 10)
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
def test_a_split_that_cannot_be_is_refused_in_words(validation, test, message):
    with pytest.raises(ConfigError, match=message):
        split(panel_of(100, 50), SplitConfig(validation=validation, test=test), 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": 1.0}, r"test must lie in \[0, 1\), not 1.0"),
        ({"test": -1}, "test must lie in 0, 1, 2"),
        ({"validation": True}, "validation must lie in fractions"),
        ({"validation": 0.6, "test": 0.5}, "validation and test together must lie in"),
    ],
)
def test_shares_that_cannot_be_are_refused_at_once(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SplitConfig(**arguments)


def test_a_step_of_an_integer_clock_must_be_a_number():
    with pytest.raises(ConfigError, match="'1970-01-01', which is not a step such as '500'"):
        split(panel_of(100, frequency="1i"), SplitConfig(test="1970-01-01"), 10)


def test_a_date_is_read_in_the_zone_of_the_panel():
    panel = panel_of(100)
    clock = TimeGrid.of(pl.Series(["1970-01-01"]).str.to_datetime(time_zone="Asia/Tokyo"), "1d")
    zoned = replace(panel, clock=clock)
    parts = split(zoned, SplitConfig(validation="1970-03-01", test="1970-03-30T15:00:00Z"), 10)
    assert (parts.train_end[0], parts.valid_end[0]) == (59, 89)
