from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusecast.data.frequency_inference import infer_frequency
from fusecast.errors import SchemaError

PANDAS = {"h": "h", "m": "min", "s": "s", "d": "D", "w": "W-WED", "mo": "MS", "q": "QS", "y": "YS"}


def frame_of(times) -> pl.DataFrame:
    return pl.DataFrame({"id": ["a"] * len(times), "ds": times})


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
    assert infer_frequency(frame_of(pl.Series(index)), "id", "ds") == expected


@pytest.mark.parametrize(
    ("freq", "expected"), [("ME", "1mo"), ("QE", "1q"), ("YE", "1y"), ("B", "1d"), ("28D", "4w"), ("365D", "365d")]
)
def test_month_ends_and_weekdays_and_long_days_are_told_apart(freq, expected):
    index = pd.date_range("2021-01-01", periods=40, freq=freq)
    assert infer_frequency(frame_of(pl.Series(index)), "id", "ds") == expected


@given(st.data())
def test_gaps_series_and_order_do_not_matter(data):
    rows = [("a", t) for t in range(20)] + [("b", t) for t in range(100, 120)]
    missing = data.draw(st.sets(st.integers(0, 39), max_size=6))
    kept = data.draw(st.permutations([row for i, row in enumerate(rows) if i not in missing]))
    start = datetime(2021, 1, 1)
    frame = pl.DataFrame({"id": [name for name, _ in kept], "ds": [start + t * timedelta(minutes=15) for _, t in kept]})
    assert infer_frequency(frame, "id", "ds") == "15m"


@pytest.mark.parametrize(("steps", "expected"), [([0, 1, 2, 3], "1i"), ([5, 10, 15, 30], "5i")])
def test_integers_count_steps(steps, expected):
    assert infer_frequency(frame_of(steps), None, "ds") == expected


def test_text_is_parsed_first():
    assert infer_frequency(frame_of(["2017-01", "2017-02", "2017-03"]), "id", "ds") == "1mo"


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([datetime(2021, 1, 1)], "cannot be told: no series has two different times\nHint: give `frequency`"),
        (
            [datetime(2021, 1, 1) + timedelta(seconds=int(s)) for s in np.cumsum([7, 13, 29, 31, 97, 7, 101])],
            r"neighbouring times lie irregularly far apart, mostly 7s \(17%\)|irregularly",
        ),
        ([datetime(2021, 1, 1) + timedelta(milliseconds=250 * k) for k in range(4)], "no whole seconds"),
    ],
)
def test_what_cannot_be_told_is_said_in_words(times, message):
    with pytest.raises(SchemaError, match=message):
        infer_frequency(frame_of(times), "id", "ds")
