from __future__ import annotations

import pytest

from fusecast.data.duration_text import format_duration, format_lag, format_step


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
