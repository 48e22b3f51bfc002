from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusecast.data.frequency import (
    Frequency,
    canonical_frequency,
    format_duration,
    format_lag,
    format_step,
    format_weekdays,
    parse_weekdays,
    seasons_for,
)
from fusecast.errors import SchemaError


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("H", "1h"), ("h", "1h"), ("hourly", "1h"), ("1h", "1h"), ("60T", "1h"), ("60min", "1h"), ("3600s", "1h"),
        ("15min", "15m"), ("30T", "30m"), ("30m", "30m"), ("PT30M", "30m"), ("15 minutes", "15m"),
        ("D", "1d"), ("daily", "1d"), ("P1D", "1d"), ("24h", "24h"), ("7d", "1w"), ("W", "1w"), ("W-SUN", "1w"),
        ("M", "1mo"), ("MS", "1mo"), ("ME", "1mo"), ("monthly", "1mo"), ("P1M", "1mo"), ("mo", "1mo"), ("2MS", "2mo"),
        ("QS", "1q"), ("QE-DEC", "1q"), ("3mo", "1q"), ("12mo", "1y"), ("A", "1y"), ("YS-JAN", "1y"), ("yearly", "1y"),
        ("S", "1s"),
        ("ms", "1ms"), ("250 ms", "250ms"), ("100L", "100ms"), ("1000ms", "1s"), ("500us", "500us"),
        ("B", "1b"), ("weekdays", "1b"), ("b(mon-fri)", "1b"),
        ("1b (Monday - Saturday)", "1b(Mon-Sat)"), ("10s", "10s"), ("i", "1i"), ("5i", "5i"), ("steps", "1i"),
    ],
)  # fmt: skip
def test_frequencies_are_understood_in_all_common_spellings(typed, expected):
    assert canonical_frequency(typed) == expected
    assert canonical_frequency(expected) == expected


@pytest.mark.parametrize("typed", ["", "fortnight", "0h", "-1d", "1.5h", "h1", "1x", "P", "PT", "ns", "10"])
def test_text_that_is_no_frequency_is_an_error_with_examples(typed):
    with pytest.raises(SchemaError, match=r"is not understood\nHint: a whole number and a unit"):
        canonical_frequency(typed)


def test_several_business_days_a_step_are_an_error_with_an_alternative():
    with pytest.raises(SchemaError, match=r"'2B' has several business days in a step\nHint: use 1b"):
        canonical_frequency("2B")


@given(st.sets(st.integers(0, 6), min_size=1, max_size=6))
def test_days_of_the_week_are_read_as_they_are_written(days):
    text = format_weekdays(days)
    assert parse_weekdays(text, "1b") == tuple(sorted(days))
    assert Frequency.parse(f"1b({text})").closed_weekdays == tuple(sorted(set(range(7)) - days))


@pytest.mark.parametrize("typed", ["1b(Mon-Sun)", "1d(Mon)", "1b()", "1b(Mon-Tue-Wed)", "1b(someday)"])
def test_other_lists_of_weekdays_are_an_error(typed):
    with pytest.raises(SchemaError, match="is not understood"):
        canonical_frequency(typed)


def test_business_days_have_a_week_of_fewer_steps():
    assert seasons_for("1b") == (5,)
    assert seasons_for("1b(Mon-Sat)") == (6,)
    assert format_duration(10, "1b") == "2 weeks"
    assert format_duration(7, "1b") == "7 business days"


def test_only_days_and_longer_follow_the_wall_clock():
    local = {unit: Frequency(1, unit).is_local for unit in ("s", "m", "h", "d", "b", "w", "mo", "q", "y", "i")}
    assert [unit for unit, is_local in local.items() if is_local] == ["d", "b", "w", "mo", "q", "y"]


@pytest.mark.parametrize(
    ("frequency", "seasons"),
    [
        ("1h", (24, 168)), ("2h", (12, 84)), ("5h", (1,)), ("7h", (24,)), ("30m", (48, 336)), ("1d", (7,)),
        ("2d", (1,)), ("1w", (52,)), ("2w", (26,)), ("3w", (1,)), ("1mo", (12,)),
        ("1q", (4,)), ("1y", (1,)), ("1i", (1,)),
    ],
)  # fmt: skip
def test_seasons_are_the_days_weeks_and_years_that_have_whole_steps(frequency, seasons):
    assert seasons_for(frequency) == seasons


@pytest.mark.parametrize(
    ("position", "frequency", "words"),
    [
        (-1, "1h", "1 h before"),
        (-24, "1h", "24 h (1 day) before"),
        (-168, "1h", "168 h (7 days) before"),
        (-48, "30m", "24 h (1 day) before"),
        (-3, "30m", "90 min before"),
        (-7, "1d", "1 week before"),
        (-10, "1d", "10 days before"),
        (-12, "1mo", "1 year before"),
        (-5, "1mo", "5 months before"),
        (-4, "1q", "1 year before"),
        (-1, "1i", "1 step before"),
        (0, "1h", "the first step forecast"),
        (5, "1i", "5 steps after"),
        (5, "3i", "5 steps after"),
    ],
)
def test_a_lag_is_in_the_largest_whole_unit(position: int, frequency: str, words: str) -> None:
    assert format_lag(position, frequency) == words


def test_a_step_has_a_name() -> None:
    names = {"1h": "hour", "30m": "30 min", "1d": "day", "1mo": "month", "1i": "step", "3i": "step"}
    assert {frequency: format_step(frequency) for frequency in names} == names


def test_no_steps_are_in_the_unit_of_the_step() -> None:
    assert format_duration(0, "1h") == "0 h"
