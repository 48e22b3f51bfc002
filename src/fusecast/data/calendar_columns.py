"""Find columns that are functions of the calendar: their future is known, whatever role they have."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

QUICK_ROWS = 2_000
"""Rows that are looked at first; most columns contradict every fact there."""
_time = pl.col("time").dt
_HOUR, _MINUTE, _DAY_OF_WEEK, _DAY, _MONTH = _time.hour(), _time.minute(), _time.weekday(), _time.day(), _time.month()
_DATE, _WEEK, _YEAR = _time.date(), _time.date().dt.truncate("1w"), _time.year()


@dataclass(frozen=True, kw_only=True)
class CalendarFact:
    """What the values of a column follow from."""

    words: str
    keys: tuple[pl.Expr, ...]
    cycle: pl.Expr  # the times at which the same keys occur again differ in it
    feature: str | None = None
    """The calendar feature that says the same."""


FACTS = (
    CalendarFact(words="the hour", keys=(_HOUR,), cycle=_DATE, feature="hour"),
    CalendarFact(words="the day of the week", keys=(_DAY_OF_WEEK,), cycle=_WEEK, feature="day_of_week"),
    CalendarFact(words="the month", keys=(_MONTH,), cycle=_YEAR, feature="month"),
    CalendarFact(
        words="the day of the month", keys=(_DAY,), cycle=_time.date().dt.month_start(), feature="day_of_month"
    ),
    CalendarFact(words="the time of day", keys=(_HOUR, _MINUTE.alias("minute")), cycle=_DATE),
    CalendarFact(words="the day of the week and the hour", keys=(_DAY_OF_WEEK.alias("day"), _HOUR), cycle=_WEEK),
    CalendarFact(words="the day and the month", keys=(_DAY.alias("day"), _MONTH.alias("month")), cycle=_YEAR),
)
"""Simple ones first: the first that holds is the one that is said."""


def find_calendar_fact(times: pl.Series, values: pl.Series) -> CalendarFact | None:
    """Return the fact of the calendar that a column is a function of, in every row with a value; None without one.

    Each day, hour or the like that occurs must do so in two cycles at least (two weeks for days of the week, two years
    for months), and always with the same value. 29 February may occur once.
    """
    if not (times.dtype == pl.Date or isinstance(times.dtype, pl.Datetime)):
        return None
    rows = pl.DataFrame({"time": times.cast(pl.Datetime) if times.dtype == pl.Date else times, "value": values})
    rows = rows.drop_nulls()
    if rows["value"].dtype.is_float():
        rows = rows.filter(pl.col("value").is_not_nan())
    if rows["value"].n_unique() < 2:
        return None
    for fact in FACTS:
        if not _contradicts(rows.head(QUICK_ROWS), fact) and not _contradicts(rows, fact) and _repeats(rows, fact):
            return fact
    return None


def _contradicts(rows: pl.DataFrame, fact: CalendarFact) -> bool:
    """Whether a column has two values for the same keys."""
    return bool((rows.group_by(*fact.keys).agg(pl.col("value").n_unique())["value"] > 1).any())


def _repeats(rows: pl.DataFrame, fact: CalendarFact) -> bool:
    """Whether all keys occur in two cycles at least."""
    usual = rows.filter(~((_MONTH == 2) & (_DAY == 29)))
    return bool((usual.group_by(*fact.keys).agg(fact.cycle.n_unique().alias("cycles"))["cycles"] > 1).all())
