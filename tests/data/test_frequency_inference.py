from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusecast.data.frequency import Frequency
from fusecast.data.frequency_inference import infer_frequency, keep_rows_with_keys
from fusecast.data.issues import Issues
from fusecast.data.parsing import read_times
from fusecast.errors import SchemaError

PANDAS = {"h": "h", "m": "min", "s": "s", "d": "D", "w": "W-WED", "mo": "MS", "q": "QS", "y": "YS"}


def infer(times, ids: list[str] | None = None) -> str:
    """The frequency of a column of times, of one series unless there are ids."""
    parsed = read_times(pl.Series("ds", times), None, Issues())
    assert parsed is not None
    return infer_frequency(*keep_rows_with_keys(parsed, None if ids is None else pl.DataFrame({"id": ids})), "ds")


@given(
    unit=st.sampled_from(sorted(PANDAS)),
    count=st.integers(1, 3),
    year=st.integers(1980, 2030),
    zone=st.sampled_from([None, "Europe/Berlin"]),
)
def test_regular_times_of_pandas_give_their_frequency(unit, count, year, zone):
    if unit == "w" and count > 1:
        count = 1
    expected = {("q", 2): "2q"}.get((unit, count), f"{count}{unit}")
    if (unit, count) == ("mo", 3):
        expected = "1q"
    index = pd.date_range(f"{year}-01-01", periods=14, freq=f"{count}{PANDAS[unit]}", tz=zone)
    assert infer(index) == expected


@pytest.mark.parametrize(
    ("freq", "expected"), [("ME", "1mo"), ("QE", "1q"), ("YE", "1y"), ("B", "1b"), ("28D", "4w"), ("365D", "365d")]
)
def test_month_ends_weekdays_and_long_days_are_distinguished(freq, expected):
    index = pd.date_range("2021-01-01", periods=40, freq=freq)
    assert infer(index) == expected


@given(
    days=st.sets(st.integers(0, 6), min_size=2, max_size=6),
    zone=st.sampled_from([None, "Europe/Berlin"]),
    lost=st.integers(0, 3),
)
def test_days_of_the_week_that_never_occur_have_no_step(days, zone, lost):
    every = pd.date_range("2023-03-01", periods=12 * 7, tz=zone)
    kept = [time for time in every if time.dayofweek in days]
    kept = [*kept[:8], *kept[8 + lost :]]
    assert infer([*kept, *kept], ["a"] * len(kept) + ["b"] * len(kept)) == str(Frequency(1, "b", tuple(sorted(days))))


def test_a_weekday_is_not_left_out_where_the_rows_are_few_or_scattered():
    daily = [time for time in pd.date_range("2023-03-06", periods=20) if time.dayofweek != 6]
    assert infer(daily) == "1d"  # two Sundays
    open_days = [time for time in pd.date_range("2023-03-06", periods=200) if time.dayofweek != 6]
    half = np.random.default_rng(0).random(len(open_days)) < 0.6
    assert infer([time for time, kept in zip(open_days, half, strict=True) if kept]) == "1d"
    monday, thursday = (list(pd.date_range(day, periods=20, freq="7D")) for day in ("2023-03-06", "2023-03-09"))
    assert infer([*monday, *thursday], ["a"] * 20 + ["b"] * 20) == "1w"


@given(st.data())
def test_gaps_series_and_order_do_not_matter(data):
    rows = [("a", t) for t in range(20)] + [("b", t) for t in range(100, 120)]
    missing = data.draw(st.sets(st.integers(0, 39), max_size=6))
    kept = data.draw(st.permutations([row for i, row in enumerate(rows) if i not in missing]))
    start = datetime(2021, 1, 1)
    times = [start + t * timedelta(minutes=15) for _, t in kept]
    assert infer(times, [name for name, _ in kept]) == "15m"


@pytest.mark.parametrize(("steps", "expected"), [([0, 1, 2, 3], "1i"), ([5, 10, 15, 30], "5i")])
def test_integers_count_steps(steps, expected):
    assert infer(steps) == expected


def test_text_is_parsed_first():
    assert infer(["2017-01", "2017-02", "2017-03"]) == "1mo"


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([datetime(2021, 1, 1)], "cannot be inferred: no series has two different times\nHint: set `frequency`"),
        (
            [datetime(2021, 1, 1) + timedelta(seconds=int(s)) for s in np.cumsum([7, 13, 29, 13, 97, 7, 101])],
            r"neighbouring times lie irregularly far apart, mostly 13s \(33%\), 101s \(17%\), 97s \(17%\)\nHint",
        ),
        (np.arange(4).astype("M8[ns]"), "its steps are shorter than a microsecond; number the rows"),
    ],
)
def test_a_frequency_that_cannot_be_inferred_is_an_error_with_the_reason(times, message):
    with pytest.raises(SchemaError, match=message):
        infer(times)
