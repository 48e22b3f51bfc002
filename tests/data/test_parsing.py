from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest

from fusecast.data.issues import Issues
from fusecast.data.parsing import read_times
from fusecast.errors import DataError


def read(*cells: object, zone: str | None = None) -> pl.Series:
    problems = Issues()
    times = read_times(pl.Series("ds", cells), zone, problems)
    problems.raise_if_any()
    assert times is not None
    return times


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["2017-01-31", "2017-02-01"], date(2017, 1, 31)),
        (["2017-01", "2017-02"], date(2017, 1, 1)),
        (["2017/01/31", "2017/02/01"], date(2017, 1, 31)),
        (["20170131", "20170201"], date(2017, 1, 31)),
        (["2017-01-31 13:30:00", "2017-02-01 00:00:00"], datetime(2017, 1, 31, 13, 30)),
        (["2017-01-31T13:30:00.25"], datetime(2017, 1, 31, 13, 30, 0, 250_000)),
        (["2017-01-31 13:30"], datetime(2017, 1, 31, 13, 30)),
        (["31.01.2017", "01.02.2017"], date(2017, 1, 31)),
        (["01/31/2017", "02/01/2017"], date(2017, 1, 31)),
        (["01/02/2017", "31/01/2017"], date(2017, 2, 1)),
        (["1/31/2017 1:05:00 PM"], datetime(2017, 1, 31, 13, 5)),
        (["01/01/2017", "02/02/2017"], date(2017, 1, 1)),
        (["31-Jan-2017"], date(2017, 1, 31)),
        (["Jan 2017"], date(2017, 1, 1)),
    ],
)
def test_common_ways_to_write_times_are_read(cells, first):
    assert read(*cells)[0] == first


def test_empty_text_is_a_missing_time():
    assert read("2017-01-31", "", None).null_count() == 2


@pytest.mark.parametrize(
    ("cell", "hour", "zone"),
    [
        ("2017-01-31T13:30:00Z", 13, "UTC"),
        ("2017-01-31 13:30:00+00:00", 13, "UTC"),
        ("2017-01-31T13:30:00+02:00", 13, "Etc/GMT-2"),
        ("2017-01-31 13:30:00 -0500", 13, "Etc/GMT+5"),
        ("2017-01-31T13:30:00+05:30", 8, "UTC"),
    ],
)
def test_an_offset_is_read_and_its_hours_kept_where_a_zone_has_them(cell, hour, zone):
    times = read(cell)
    assert (times.dtype.time_zone, times.dt.hour()[0]) == (zone, hour)


def test_different_offsets_are_read_in_the_zone_named():
    times = read("2021-03-28T00:00:00+01:00", "2021-03-29T00:00:00+02:00", zone="Europe/Berlin")
    assert times.dt.hour().to_list() == [0, 0]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["01/02/2017", "03/04/2017"], r"day first or month first: '01/02/2017' in row 0\nHint: write dates as"),
        (["2017-01-01", "2017-01-02", "soon"], "holds 'soon' in row 2, unlike the other rows"),
        (["01/31/2017", "02/01/2017", "2017-02-03"], "holds '2017-02-03' in row 2, unlike the other rows"),
        (["now", "then"], "holds 'now' in row 0, which is no time that can be read"),
        (["2021-03-28T00:00:00+01:00", "2021-03-29T00:00:00+02:00"], r"mixes time zones.*row 1\nHint: .*`time_zone`"),
        (["2021-03-28T00:00:00Z", "2021-03-29T00:00:00"], "mixes time zones: '2021-03-28T00:00:00Z' in row 0"),
        ([0.5, 1.5], "type Float64, which cannot be read as times"),
        ([True, False], "type Boolean, which cannot be read as times"),
    ],
)
def test_times_that_cannot_be_read_are_named(cells, message):
    with pytest.raises(DataError, match=message):
        read(*cells)


def test_wall_times_that_a_zone_does_not_have_are_named():
    with pytest.raises(DataError, match=r"1 time that zone Europe/Berlin does not have.* row 1"):
        read(datetime(2021, 3, 28, 1, 0), datetime(2021, 3, 28, 2, 30), zone="Europe/Berlin")


def test_whole_floats_are_integer_steps():
    assert read(1.0, 2.0).dtype == pl.Int64
