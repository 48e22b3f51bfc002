"""Frequency: the length of a step, the usual seasons of series of that frequency, and durations as text."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from fusecast.errors import SchemaError

MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
MICROSECONDS |= {"d": 86_400_000_000, "w": 604_800_000_000}
MONTHS = {"mo": 1, "q": 3, "y": 12}

# A coarser unit of exactly the same length: 60m is 1h, 3mo is 1q. Hours never become days: a local day may have 23.
COARSER = {"us": ("ms", 1000), "ms": ("s", 1000), "s": ("m", 60), "m": ("h", 60)}
COARSER |= {"d": ("w", 7), "mo": ("q", 3), "q": ("y", 4)}

# Spellings whose case matters: pandas wrote M for months and T for minutes, polars writes m for minutes.
CASE_SENSITIVE = {"L": "ms", "U": "us", "M": "mo", "MS": "mo", "ME": "mo", "T": "m", "m": "m"}
WORDS = {
    "us": ("us", "\u00b5s", "microsecond", "microseconds"),
    "ms": ("ms", "milli", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds", "secondly"),
    "m": ("min", "mins", "minute", "minutes", "minutely", "t"),
    "h": ("h", "hr", "hrs", "hour", "hours", "hourly"),
    "d": ("d", "day", "days", "daily"),
    "w": ("w", "wk", "week", "weeks", "weekly"),
    "mo": ("mo", "mon", "month", "months", "monthly"),
    "q": ("q", "qs", "qe", "quarter", "quarters", "quarterly"),
    "y": ("y", "ys", "ye", "a", "as", "ae", "year", "years", "yearly", "annual", "annually"),
    "i": ("i", "int", "integer", "integers", "step", "steps"),
    "b": ("b", "c", "bday", "business", "weekday", "weekdays"),
}
UNIT_OF_WORD = {word: unit for unit, words in WORDS.items() for word in words}
NAMES = {"us": "us", "ms": "ms", "s": "s", "m": "min", "h": "h", "d": "day", "w": "week"}
NAMES |= {"mo": "month", "q": "quarter", "y": "year", "i": "step", "b": "business day"}
"""Names of the units in texts; those of up to an hour have no plural."""
WITHOUT_PLURAL = ("us", "ms", "s", "min", "h")
LARGER_UNIT = {**COARSER, "mo": ("y", 12), "q": ("y", 4)}
"""A larger unit to name a duration in, and its size in the unit: 12mo is 1 year, 3mo are 3 months."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
BUSINESS_DAYS: tuple[int, ...] = (0, 1, 2, 3, 4)
"""Monday to Friday, as numbers of :data:`WEEKDAYS`."""
ANCHOR = re.compile(r"-(?:[A-Z]{3}|\d{2})$")  # W-SUN, QS-JAN, A-DEC: the timestamps of the table show it anyway
ISO = re.compile(r"P(?:(\d+)([DWMY])|T(\d+)([HMS]))")
ISO_DATE = {"D": "d", "W": "w", "M": "mo", "Y": "y"}
ISO_TIME = {"H": "h", "M": "m", "S": "s"}


@dataclass(frozen=True)
class Frequency:
    """A whole number of one unit: us, ms, s, m, h, d, w, mo, q, y, or i for integer steps; or b, one business day."""

    count: int
    unit: str
    weekdays: tuple[int, ...] = ()
    """Days of the week that have a step, Monday is 0; of business days only."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a frequency in any common spelling: ``1h``, ``H``, ``30T``, ``15min``, ``MS``, ``monthly``, ``PT1H``.

        ``ms`` are milliseconds, and ``MS`` starts of months.

        Business days are ``B`` from Monday to Friday, or ``1b(Mon-Sat)``, ``1b(Tue,Thu)``. Raise a SchemaError when the
        text is not understood.
        """
        stripped = str(text).strip()
        weekdays = BUSINESS_DAYS
        if listed := re.fullmatch(r"(.*?)\s*\(([^()]*)\)", stripped):
            stripped, weekdays = listed[1], parse_weekdays(listed[2], text)
        if iso := ISO.fullmatch(stripped):
            digits, unit = (iso[1], ISO_DATE[iso[2]]) if iso[1] else (iso[3], ISO_TIME[iso[4]])
        else:
            match = re.fullmatch(r"(\d*)\s*([A-Za-z\u00b5]+)", ANCHOR.sub("", stripped))
            if match is None:
                raise SchemaError.bad_frequency(text)
            digits, word = match[1], match[2]
            unit = CASE_SENSITIVE.get(word) or UNIT_OF_WORD.get(word.lower()) or ""
        count = int(digits or 1)
        if not unit or count < 1 or (listed and unit != "b"):
            raise SchemaError.bad_frequency(text)
        if unit == "b":
            if count > 1:
                raise SchemaError.several_business_days(text)
            return cls(1, unit, weekdays)
        while unit in COARSER and count % COARSER[unit][1] == 0:
            count, unit = count // COARSER[unit][1], COARSER[unit][0]
        return cls(count, unit)

    def __str__(self) -> str:
        days = f"({format_weekdays(self.weekdays)})" if self.weekdays not in ((), BUSINESS_DAYS) else ""
        return f"{self.count}{self.unit}{days}"

    @property
    def is_integer(self) -> bool:
        """Whether the time column counts steps and holds no calendar times."""
        return self.unit == "i"

    @property
    def closed_weekdays(self) -> tuple[int, ...]:
        """Return the days of the week without a step, where steps are business days."""
        return tuple(day for day in range(7) if self.weekdays and day not in self.weekdays)

    @property
    def months(self) -> int:
        """Months in a step, 0 where a step has a fixed length."""
        return self.count * MONTHS.get(self.unit, 0)

    @property
    def width(self) -> int:
        """Ticks in a step of fixed length (microseconds, or integers); a day for business days, 0 for months."""
        return self.count * (1 if self.is_integer else MICROSECONDS.get("d" if self.weekdays else self.unit, 0))

    @property
    def is_local(self) -> bool:
        """Whether steps follow local time across the start and end of daylight saving time: days and longer do."""
        return self.unit in ("d", "b", "w", "mo", "q", "y")


def parse_weekdays(text: str, frequency: str) -> tuple[int, ...]:
    """Return the numbers of days of the week: ``Mon-Sat`` or ``Sun-Thu``, ``Tue,Thu``.

    Raise a SchemaError where there are none, or all seven.
    """
    numbers = {name.lower(): number for number, name in enumerate(WEEKDAYS)}
    chosen: set[int] = set()
    for part in text.lower().split(","):
        ends = [numbers.get(end.strip()[:3], -1) for end in part.split("-")]
        if -1 in ends or len(ends) > 2:
            raise SchemaError.bad_frequency(frequency)
        first, last = ends[0], ends[-1]
        chosen.update((first + days) % 7 for days in range((last - first) % 7 + 1))
    if len(chosen) == 7:
        raise SchemaError.bad_frequency(frequency)
    return tuple(sorted(chosen))


def format_weekdays(days: Collection[int]) -> str:
    """Return days of the week as text.

    >>> format_weekdays((0, 1, 2, 3, 4, 5)), format_weekdays((0, 1, 2, 3, 6)), format_weekdays((1, 3))
    ('Mon-Sat', 'Sun-Thu', 'Tue,Thu')
    """
    first = next((day for day in sorted(days) if (day - 1) % 7 not in days), 0)
    run = [(first + step) % 7 for step in range(len(days))]
    if len(days) > 2 and set(run) == set(days):
        return f"{WEEKDAYS[run[0]]}-{WEEKDAYS[run[-1]]}"
    return ",".join(WEEKDAYS[day] for day in sorted(days))


def canonical_frequency(frequency: str) -> str:
    """Return a frequency as ``Schema.frequency`` holds it: a count and the coarsest unit of exactly the same length.

    >>> canonical_frequency("60T"), canonical_frequency("MS"), canonical_frequency("hourly"), canonical_frequency("24h")
    ('1h', '1mo', '1h', '24h')
    """
    return str(Frequency.parse(frequency))


def seasons_for(frequency: str) -> tuple[int, ...]:
    """Return the usual seasons of a frequency in steps, shortest first; (1,) where it has none.

    >>> (
    ...     seasons_for("1h"),
    ...     seasons_for("30m"),
    ...     seasons_for("1d"),
    ...     seasons_for("1b"),
    ...     seasons_for("1mo"),
    ...     seasons_for("1i"),
    ... )
    ((24, 168), (48, 336), (7,), (5,), (12,), (1,))
    """
    step = Frequency.parse(frequency)
    cycles: tuple[int, ...]
    if step.is_integer or step.unit in ("ms", "us"):  # a day is too many steps to look back to
        return (1,)
    if step.weekdays:
        return (len(step.weekdays),)  # a week
    if step.months:
        cycles, length = (12,), step.months
    elif step.unit == "w":
        cycles, length = (52,), step.count
    else:
        cycles, length = (MICROSECONDS["d"], MICROSECONDS["w"]), step.width
    seasons = (cycle // length for cycle in cycles if cycle % length == 0)
    return tuple(season for season in seasons if season > 1) or (1,)


def format_duration(steps: int, frequency: str) -> str:
    """Return the duration of some steps in the largest unit of which they are a whole number.

    >>> format_duration(24, "1h"), format_duration(336, "30m"), format_duration(12, "1mo"), format_duration(3, "1i")
    ('24 h (1 day)', '168 h (7 days)', '1 year', '3 steps')
    """
    step = Frequency.parse(frequency)
    if step.is_integer:  # one step of 3i is one step, whatever it adds to the numbers
        return _format_units(steps, NAMES[step.unit])
    count, unit = steps * step.count, step.unit
    if step.weekdays and count and count % len(step.weekdays) == 0:
        count, unit = count // len(step.weekdays), "w"
    while unit in LARGER_UNIT and count and count % LARGER_UNIT[unit][1] == 0:
        count, unit = count // LARGER_UNIT[unit][1], LARGER_UNIT[unit][0]
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
    return f"{count} {name}" if name in WITHOUT_PLURAL or count == 1 else f"{count} {name}s"
