"""Lags in words: "24 h before"."""

from __future__ import annotations

from fusecast.data.frequency import Frequency

NAMES = {
    "s": "s",
    "m": "min",
    "h": "h",
    "d": "day",
    "w": "week",
    "mo": "month",
    "q": "quarter",
    "y": "year",
    "i": "step",
}
ABBREVIATED = {"s", "min", "h"}
UPWARDS = {"s": ("m", 60), "m": ("h", 60), "d": ("w", 7), "mo": ("y", 12), "q": ("y", 4)}
IN_DAYS = 24


def format_duration(steps: int, frequency: str) -> str:
    """Say how long some steps are, in the largest unit that is whole.

    >>> format_duration(24, "1h"), format_duration(336, "30m"), format_duration(12, "1mo"), format_duration(3, "1i")
    ('24 h (1 day)', '168 h (7 days)', '1 year', '3 steps')
    """
    step = Frequency.parse(frequency)
    if step.is_integer:  # one step of 3i is one step, whatever it adds to the numbers
        return _counted(steps, NAMES[step.unit])
    count, unit = steps * step.count, step.unit
    while unit in UPWARDS and count and count % UPWARDS[unit][1] == 0:
        unit, count = UPWARDS[unit][0], count // UPWARDS[unit][1]
    words = _counted(count, NAMES[unit])
    if unit == "h" and count and count % IN_DAYS == 0:
        return f"{words} ({_counted(count // IN_DAYS, 'day')})"
    return words


def format_lag(position: int, frequency: str) -> str:
    """Say where a position lies, counted from the first step forecast.

    >>> format_lag(-24, "1h"), format_lag(0, "1h"), format_lag(2, "1d")
    ('24 h (1 day) before', 'the first step forecast', '2 days after')
    """
    if position == 0:
        return "the first step forecast"
    return f"{format_duration(abs(position), frequency)} {'before' if position < 0 else 'after'}"


def format_step(frequency: str) -> str:
    """Name one step, for axes and headings.

    >>> format_step("1h"), format_step("30m"), format_step("1i")
    ('hour', '30 min', 'step')
    """
    step = Frequency.parse(frequency)
    if step.count > 1 and not step.is_integer:
        return _counted(step.count, NAMES[step.unit])
    return {"s": "second", "m": "minute", "h": "hour"}.get(step.unit, NAMES[step.unit])


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if name in ABBREVIATED or count == 1 else f"{count} {name}s"
