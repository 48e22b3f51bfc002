"""Durations and lags as text: "24 h before"."""

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
SINGULAR_ONLY = {"s", "min", "h"}
LARGER_UNIT = {"s": ("m", 60), "m": ("h", 60), "d": ("w", 7), "mo": ("y", 12), "q": ("y", 4)}


def format_duration(steps: int, frequency: str) -> str:
    """Return the duration of some steps in the largest unit of which they are a whole number.

    >>> format_duration(24, "1h"), format_duration(336, "30m"), format_duration(12, "1mo"), format_duration(3, "1i")
    ('24 h (1 day)', '168 h (7 days)', '1 year', '3 steps')
    """
    step = Frequency.parse(frequency)
    if step.is_integer:  # one step of 3i is one step, whatever it adds to the numbers
        return _format_units(steps, NAMES[step.unit])
    count, unit = steps * step.count, step.unit
    while unit in LARGER_UNIT and count and count % LARGER_UNIT[unit][1] == 0:
        unit, count = LARGER_UNIT[unit][0], count // LARGER_UNIT[unit][1]
    text = _format_units(count, NAMES[unit])
    if unit == "h" and count and count % 24 == 0:
        return f"{text} ({_format_units(count // 24, 'day')})"
    return text


def format_lag(position: int, frequency: str) -> str:
    """Return where a position lies, counted from the first step forecast.

    >>> format_lag(-24, "1h"), format_lag(0, "1h"), format_lag(2, "1d")
    ('24 h (1 day) before', 'the first step forecast', '2 days after')
    """
    if position == 0:
        return "the first step forecast"
    return f"{format_duration(abs(position), frequency)} {'before' if position < 0 else 'after'}"


def format_step(frequency: str) -> str:
    """Return the name of one step, for axes and headings.

    >>> format_step("1h"), format_step("30m"), format_step("1i")
    ('hour', '30 min', 'step')
    """
    step = Frequency.parse(frequency)
    if step.count > 1 and not step.is_integer:
        return _format_units(step.count, NAMES[step.unit])
    return {"s": "second", "m": "minute", "h": "hour"}.get(step.unit, NAMES[step.unit])


def _format_units(count: int, name: str) -> str:
    return f"{count} {name}" if name in SINGULAR_ONLY or count == 1 else f"{count} {name}s"
