from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest

from fusecast.data.future import extend_panel
from fusecast.data.inspection import inspect_table
from fusecast.data.issues import Issues
from fusecast.data.panel_builder import build_panel
from fusecast.data.parsing import read_times
from fusecast.data.schema import make_schema
from fusecast.errors import DataError, SchemaError


def read(*cells: object, zone: str | None = None) -> pl.Series:
    issues = Issues()
    times = read_times(pl.Series("ds", cells), zone, issues)
    issues.raise_if_any()
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
def test_an_offset_keeps_its_hours_where_a_zone_has_them(cell, hour, zone):
    times = read(cell)
    assert (times.dtype.time_zone, times.dt.hour()[0]) == (zone, hour)


def test_different_offsets_are_converted_to_a_zone():
    times = read("2021-03-28T00:00:00+01:00", "2021-03-29T00:00:00+02:00", zone="Europe/Berlin")
    assert times.dt.hour().to_list() == [0, 0]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["01/02/2017", "03/04/2017"], r"day first or month first: '01/02/2017' in row 0\nHint: write dates as"),
        (["2017-01-01", "2017-01-02", "soon"], "holds 'soon' in row 2, unlike the other rows"),
        (["01/31/2017", "02/01/2017", "2017-02-03"], "holds '2017-02-03' in row 2, unlike the other rows"),
        (["now", "then"], "holds 'now' in row 0, which is in no known time format"),
        (["2021-03-28T00:00:00+01:00", "2021-03-29T00:00:00+02:00"], r"mixes time zones.*row 1\nHint: .*`time_zone`"),
        (["2021-03-28T00:00:00Z", "2021-03-29T00:00:00"], "mixes time zones: '2021-03-28T00:00:00Z' in row 0"),
        ([0.5, 1.5], "type Float64, which cannot be read as times"),
        ([True, False], "type Boolean, which cannot be read as times"),
    ],
)
def test_times_that_cannot_be_read_are_errors_with_their_row(cells, message):
    with pytest.raises(DataError, match=message):
        read(*cells)


def test_wall_times_that_do_not_exist_in_a_zone_are_errors_with_their_row():
    with pytest.raises(DataError, match=r"1 time that zone Europe/Berlin skips or repeats, .* row 1"):
        read(datetime(2021, 3, 28, 1, 0), datetime(2021, 3, 28, 2, 30), zone="Europe/Berlin")


def test_whole_floats_are_integer_steps():
    assert read(1.0, 2.0).dtype == pl.Int64


DAYS = [f"2024{month:02d}{day:02d}" for month in (1, 2) for day in range(1, 30)]


@pytest.mark.parametrize("kind", [pl.Int64, pl.Int32, pl.Float64])
def test_whole_numbers_that_are_dates_are_read_as_dates(kind):
    frame = pl.DataFrame({"ds": DAYS, "y": 1.0}).with_columns(pl.col("ds").cast(kind))
    schema = make_schema(frame, id=None)
    assert schema.frequency == "1d"
    panel = build_panel(frame, schema)
    assert panel.times()[[0, 31]].to_list() == [date(2024, 1, 1), date(2024, 2, 1)]
    assert inspect_table(frame).frequency == "1d"
    future = pl.DataFrame({"ds": [20240301, 20240302]})
    assert extend_panel(panel, 2, future).times()[-1] == date(2024, 3, 2)


def test_whole_numbers_that_are_months_are_read_as_months():
    months = [100 * year + month for year in (2022, 2023) for month in range(1, 13)]
    assert make_schema(pl.DataFrame({"ds": months, "y": 1.0}), id=None).frequency == "1mo"


@pytest.mark.parametrize(
    "steps", [range(20240101, 20240201), range(202401, 202431), range(1950, 2000), range(40), [20240101, 20240230]]
)
def test_whole_numbers_that_are_not_all_dates_count_steps(steps):
    assert make_schema(pl.DataFrame({"ds": list(steps), "y": 1.0}), id=None).frequency.endswith("i")


def test_whole_numbers_count_steps_where_the_frequency_does():
    frame = pl.DataFrame({"ds": [int(day) for day in DAYS], "y": 1.0})
    schema = make_schema(frame, id=None, frequency="1i")
    assert build_panel(frame, schema).time_grid.step.is_integer


OFFSETS = ["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00", "2024-03-31T04:00:00+02:00"]


def test_times_of_different_offsets_are_read_in_the_zone_of_the_schema():
    frame = pl.DataFrame({"ds": OFFSETS, "y": 1.0})
    with pytest.raises(DataError, match=r"mixes time zones.*\nHint: set the zone to read them in with `time_zone`"):
        make_schema(frame, id=None)
    panel = build_panel(frame, make_schema(frame, id=None, time_zone="Europe/Berlin"))
    assert (panel.schema.frequency, panel.schema.time_zone, panel.num_rows) == ("1h", "Europe/Berlin", 3)
    with pytest.raises(SchemaError, match="no time zone 'Europe/Berln'\nHint: did you mean 'Europe/Berlin'"):
        make_schema(frame, id=None, time_zone="Europe/Berln")


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["1998 Q1", "1998 Q2", None], ["1998-01-01", "1998-04-01", None]),
        (["2018Q3", "2018Q4"], ["2018-07-01", "2018-10-01"]),
        (["2018-q4", "2019-q1"], ["2018-10-01", "2019-01-01"]),
        (["Q4 2018", "Q1/2019"], ["2018-10-01", "2019-01-01"]),
        (["2023-W05", "2023-W06"], ["2023-01-30", "2023-02-06"]),
        (["2020W53", "2021W01"], ["2020-12-28", "2021-01-04"]),
        (["2023-W05-3", "2023-W06-3"], ["2023-02-01", "2023-02-08"]),
    ],
)
def test_quarters_and_weeks_are_their_first_days(cells, days):
    assert read(*cells).equals(pl.Series("ds", days).str.to_date())


@pytest.mark.parametrize("cells", [["2018Q5"], ["2021-W54"], ["2018Q1", "soon"], ["W05"]])
def test_other_periods_are_no_times(cells):
    with pytest.raises(DataError, match="holds"):
        read(*cells)
