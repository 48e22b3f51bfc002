from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusecast.data.frequency import WEEKDAYS, format_weekdays
from fusecast.data.time_grid import OFF_GRID, TimeGrid, find_month_day

OFFSETS = {
    "s": lambda n: pd.Timedelta(seconds=n),
    "m": lambda n: pd.Timedelta(minutes=n),
    "h": lambda n: pd.Timedelta(hours=n),
    "d": lambda n: pd.DateOffset(days=n),
    "w": lambda n: pd.DateOffset(weeks=n),
    "mo": lambda n: pd.DateOffset(months=n),
    "q": lambda n: pd.DateOffset(months=3 * n),
    "y": lambda n: pd.DateOffset(years=n),
}
starts = st.datetimes(datetime(1970, 1, 1), datetime(2060, 1, 1)).map(lambda t: t.replace(microsecond=0))
frequencies = st.tuples(st.integers(1, 5), st.sampled_from(sorted(OFFSETS)))
steps = st.integers(-40, 400)


def tick(time_grid: TimeGrid, moment: datetime) -> np.ndarray:
    return time_grid.ticks(pl.Series([moment]))


@given(start=starts, frequency=frequencies, k=steps)
def test_advance_agrees_with_pandas(start, frequency, k):
    count, unit = frequency
    time_grid = TimeGrid(frequency=f"{count}{unit}")
    ours = time_grid.times(time_grid.advance(tick(time_grid, start), np.array([k])))[0]
    theirs = pd.Timestamp(start) + OFFSETS[unit](count * k) if k else pd.Timestamp(start)
    assert ours == theirs.to_pydatetime()


@given(start=starts, frequency=frequencies, k=steps)
def test_steps_between_is_the_inverse_of_advance(start, frequency, k):
    time_grid = TimeGrid(frequency=f"{frequency[0]}{frequency[1]}")
    begin = tick(time_grid, start)
    assert time_grid.steps_between(begin, time_grid.advance(begin, np.array([k])))[0] == k


@given(start=starts, frequency=frequencies, k=steps)
def test_a_stamp_one_second_off_is_off_the_grid(start, frequency, k):
    time_grid = TimeGrid(frequency=f"{frequency[0]}{frequency[1]}")
    begin = tick(time_grid, start)
    shifted = time_grid.advance(begin, np.array([k])) + 1_000_000
    assert (time_grid.steps_between(begin, shifted)[0] == OFF_GRID) == (time_grid.frequency != "1s")


@given(year=st.integers(1975, 2050), month=st.integers(1, 12), k=steps, count=st.integers(1, 4))
def test_month_ends_agree_with_pandas(year, month, k, count):
    start = pd.Timestamp(year, month, 1) + pd.offsets.MonthEnd(0)
    time_grid = TimeGrid(frequency=f"{count}mo", month_day=31)
    begin = tick(time_grid, start.to_pydatetime())
    ahead = time_grid.advance(begin, np.array([k]))
    assert time_grid.times(ahead)[0] == start + pd.offsets.MonthEnd(count * k) if k else True
    assert time_grid.steps_between(begin, ahead)[0] == k


@given(start=starts, frequency=frequencies, k=st.integers(-30, 300), extra=st.integers(0, 10**11))
def test_the_first_step_at_a_time_is_neither_early_nor_a_step_late(start, frequency, k, extra):
    time_grid = TimeGrid(frequency=f"{frequency[0]}{frequency[1]}")
    begin = tick(time_grid, start)
    moment = int(time_grid.advance(begin, np.array([k]))[0]) - extra
    first = time_grid.first_step_at(begin, moment)
    assert time_grid.advance(begin, first)[0] >= moment > time_grid.advance(begin, first - 1)[0]


def test_months_after_the_31st_keep_the_day_of_the_start():
    time_grid = TimeGrid(frequency="1mo")
    times = time_grid.times(time_grid.advance(np.repeat(tick(time_grid, datetime(2021, 1, 31)), 4), np.arange(4)))
    assert [t.day for t in times] == [31, 28, 31, 30]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (["2021-01-31", "2021-02-28", "2021-03-31"], 31),
        (["2021-01-28", "2021-02-28", "2021-03-28"], 28),
        (["2021-02-28", "2021-03-30", "2021-04-30"], 30),
        (["2021-04-30", "2021-05-31", "2021-06-30"], 31),
    ],
)
def test_the_day_of_the_month_is_seen_in_the_stamps(days, expected):
    times = pl.Series(days).str.to_date()
    time_grid = TimeGrid.from_times(times, "M")
    assert time_grid.month_day == expected
    ticks = time_grid.ticks(times)
    np.testing.assert_array_equal(time_grid.steps_between(ticks[:1], ticks), [0, 1, 2])


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([date(2020, 2, 28), date(2020, 2, 29)]),
        pl.Series([datetime(2020, 1, 1), datetime(2020, 1, 2)], dtype=pl.Datetime("ms")),
        pl.Series([datetime(2020, 1, 1), datetime(2020, 1, 2)], dtype=pl.Datetime("ns")),
        pl.Series([datetime(2020, 1, 1), datetime(2020, 1, 2)], dtype=pl.Datetime("us", "Europe/Berlin")),
    ],
)
def test_times_come_back_in_the_type_of_the_table(times):
    time_grid = TimeGrid.from_times(times, "1d")
    again = time_grid.times(time_grid.ticks(times))
    assert again.dtype == times.dtype
    assert again.to_list() == times.to_list()


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int32, pl.UInt16, pl.Int64])
def test_integer_steps_come_back_in_their_type(dtype):
    times = pl.Series([3, 5, 7], dtype=dtype)
    time_grid = TimeGrid.from_times(times, "2i")
    assert time_grid.times(time_grid.advance(time_grid.ticks(times)[:1], np.arange(3))).equals(times)


def local(texts: list[str], zone: str) -> pl.Series:
    return pl.Series(texts).str.to_datetime(time_unit="us", time_zone="UTC").dt.convert_time_zone(zone)


def test_hours_run_through_both_changes_of_the_clock():
    for first in ("2021-03-27T20:00:00Z", "2021-10-30T20:00:00Z"):
        begin = datetime.fromisoformat(first)
        times = pl.datetime_range(begin, begin + pd.Timedelta(hours=9), "1h", eager=True).dt.convert_time_zone(
            "Europe/Berlin"
        )
        time_grid = TimeGrid.from_times(times, "1h")
        ticks = time_grid.ticks(times)
        np.testing.assert_array_equal(time_grid.steps_between(ticks[:1], ticks), np.arange(10))
        assert time_grid.times(time_grid.advance(ticks[:1], np.arange(10))).to_list() == times.to_list()


def test_days_keep_their_local_hour_when_the_clock_changes():
    times = local(["2021-03-27T11:00:00Z", "2021-03-28T10:00:00Z", "2021-03-29T10:00:00Z"], "Europe/Berlin")
    time_grid = TimeGrid.from_times(times, "1d")
    ticks = time_grid.ticks(times)
    np.testing.assert_array_equal(time_grid.steps_between(ticks[:1], ticks), [0, 1, 2])
    assert time_grid.times(time_grid.advance(ticks[:1], np.arange(3))).to_list() == times.to_list()


def test_a_midnight_that_does_not_exist_is_the_first_hour_after_it():
    times = local(["2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"], "America/Sao_Paulo")
    assert times.dt.hour().to_list() == [0, 1, 0]
    time_grid = TimeGrid.from_times(times, "1d")
    ticks = time_grid.ticks(times)
    np.testing.assert_array_equal(time_grid.steps_between(ticks[:1], ticks), [0, 1, 2])
    assert time_grid.times(time_grid.advance(ticks[:1], np.arange(3))).to_list() == times.to_list()


masks = st.sets(st.integers(0, 6), min_size=1, max_size=6).map(sorted)


@given(start=starts, days=masks, k=steps, extra=st.integers(0, 10**11), zone=st.sampled_from([None, "Europe/Berlin"]))
def test_business_days_agree_with_pandas(start, days, k, extra, zone):
    time_grid = TimeGrid(frequency=f"1b({format_weekdays(days)})", time_zone=zone)
    while start.weekday() not in days:
        start += timedelta(days=1)
    begin = tick(time_grid, start)
    ahead = time_grid.advance(begin, np.array([k]))
    offset = pd.offsets.CustomBusinessDay(k, weekmask=" ".join(WEEKDAYS[day] for day in days))
    assert pd.Timestamp(int(ahead[0]), unit="us") == pd.Timestamp(start) + offset
    assert time_grid.steps_between(begin, ahead)[0] == k
    moment = int(ahead[0]) - extra
    first = time_grid.first_step_at(begin, moment)
    assert time_grid.advance(begin, first)[0] >= moment > time_grid.advance(begin, first - 1)[0]


@given(start=starts, days=masks)
def test_days_of_the_week_without_a_step_are_off_the_grid(start, days):
    time_grid = TimeGrid(frequency=f"1b({format_weekdays(days)})")
    week = np.concatenate([tick(time_grid, start + timedelta(days=day)) for day in range(7)])
    on_grid = time_grid.steps_between(np.broadcast_to(week[:1], 7), week) != OFF_GRID
    assert on_grid.tolist() == [(start + timedelta(days=day)).weekday() in days for day in range(7)]


def test_a_few_times_keep_the_day_of_an_earlier_table_where_it_fits():
    few = pl.Series(["2021-02-28", "2021-06-30"]).str.to_date()
    assert TimeGrid.from_times(few, "1mo").month_day == 31
    earlier = TimeGrid.from_times(few, "1mo", 30)
    after = earlier.times(earlier.advance(earlier.ticks(few), np.array([1, 1])))
    assert after.to_list() == [date(2021, 3, 30), date(2021, 7, 30)]
    other = pl.Series(["2021-02-15", "2021-06-15"]).str.to_date()
    assert TimeGrid.from_times(other, "1mo", 30).month_day == 15
    mixed = pl.Series(["2021-02-15", "2021-06-01"]).str.to_date()
    assert TimeGrid.from_times(mixed, "1mo", 30).month_day is None
    assert find_month_day(set(), 30) == 30
