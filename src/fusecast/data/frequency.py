"""Frequency: the length of a step, and the seasons that series of a frequency usually have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from fusecast.errors import SchemaError

MICROSECONDS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
MONTHS = {"mo": 1, "q": 3, "y": 12}

# A coarser unit that means exactly the same: 60m is 1h, 3mo is 1q. Hours never become days: a local day may have 23.
COARSER = {"s": ("m", 60), "m": ("h", 60), "d": ("w", 7), "mo": ("q", 3), "q": ("y", 4)}

# Spellings whose case matters: pandas wrote M for months and T for minutes, polars writes m for minutes.
EXACT = {"M": "mo", "MS": "mo", "ME": "mo", "T": "m", "m": "m"}
WORDS = {
    "s": ("s", "sec", "secs", "second", "seconds", "secondly"),
    "m": ("min", "mins", "minute", "minutes", "minutely", "t"),
    "h": ("h", "hr", "hrs", "hour", "hours", "hourly"),
    "d": ("d", "day", "days", "daily"),
    "w": ("w", "wk", "week", "weeks", "weekly"),
    "mo": ("mo", "mon", "month", "months", "monthly"),
    "q": ("q", "qs", "qe", "quarter", "quarters", "quarterly"),
    "y": ("y", "ys", "ye", "a", "as", "ae", "year", "years", "yearly", "annual", "annually"),
    "i": ("i", "int", "integer", "integers", "step", "steps"),
}
UNIT_OF_WORD = {word: unit for unit, words in WORDS.items() for word in words}
BUSINESS_DAYS = {"b", "c", "bday", "business", "weekday", "weekdays"}
ANCHOR = re.compile(r"-(?:[A-Z]{3}|\d{2})$")  # W-SUN, QS-JAN, A-DEC: the table's stamps say it anyway
ISO = re.compile(r"P(?:(\d+)([DWMY])|T(\d+)([HMS]))")
ISO_DATE = {"D": "d", "W": "w", "M": "mo", "Y": "y"}
ISO_TIME = {"H": "h", "M": "m", "S": "s"}


@dataclass(frozen=True)
class Frequency:
    """A whole number of one unit: s, m, h, d, w, mo, q, y, or i for integer steps."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a frequency as people type it: ``1h``, ``H``, ``30T``, ``15min``, ``MS``, ``monthly``, ``PT1H``.

        Raises
        ------
        SchemaError
            When the text is not understood, or counts business days.
        """
        stripped = str(text).strip()
        if iso := ISO.fullmatch(stripped):
            number, unit = (iso[1], ISO_DATE[iso[2]]) if iso[1] else (iso[3], ISO_TIME[iso[4]])
        else:
            parts = re.fullmatch(r"(\d*)\s*([A-Za-z]+)", ANCHOR.sub("", stripped))
            if parts is None:
                raise SchemaError.bad_frequency(text)
            number, word = parts[1], parts[2]
            if word.lower() in BUSINESS_DAYS:
                raise SchemaError.business_days(text)
            unit = EXACT.get(word) or UNIT_OF_WORD.get(word.lower()) or ""
        count = int(number or 1)
        if not unit or count < 1:
            raise SchemaError.bad_frequency(text)
        while unit in COARSER and count % COARSER[unit][1] == 0:
            count, unit = count // COARSER[unit][1], COARSER[unit][0]
        return cls(count, unit)

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def is_integer(self) -> bool:
        """The time column counts steps and is no calendar time."""
        return self.unit == "i"

    @property
    def months(self) -> int:
        """Months in a step, 0 where a step has a fixed length."""
        return self.count * MONTHS.get(self.unit, 0)

    @property
    def width(self) -> int:
        """Ticks in a step of fixed length (microseconds, or integers), 0 for months, quarters and years."""
        return self.count * (1 if self.is_integer else MICROSECONDS.get(self.unit, 0))

    @property
    def is_local(self) -> bool:
        """Steps of days and longer follow the wall clock, across changes to summer time."""
        return self.unit in ("d", "w", "mo", "q", "y")


def canonical(frequency: str) -> str:
    """Give a frequency as ``Schema.frequency`` holds it: a count and a unit, in the coarsest unit that says the same.

    >>> canonical("60T"), canonical("MS"), canonical("hourly"), canonical("24h")
    ('1h', '1mo', '1h', '24h')
    """
    return str(Frequency.parse(frequency))


DAY = 86_400_000_000  # microseconds, as in Frequency.width


def seasons_for(frequency: str) -> tuple[int, ...]:
    """Give the usual seasons of a frequency in steps, shortest first; (1,) where it has none.

    >>> seasons_for("1h"), seasons_for("30m"), seasons_for("1d"), seasons_for("1mo"), seasons_for("1i")
    ((24, 168), (48, 336), (7,), (12,), (1,))
    """
    step = Frequency.parse(frequency)
    if step.months:
        return _whole(12, step.months)
    if step.unit == "w":
        return _whole(52, step.count)
    if step.is_integer:
        return (1,)
    found = (*_whole(DAY, step.width), *_whole(7 * DAY, step.width))
    return tuple(season for season in found if season > 1) or (1,)


def _whole(span: int, step: int) -> tuple[int, ...]:
    """Give the number of steps in a span, if it is whole."""
    return (span // step,) if span % step == 0 and span >= step else (1,)
