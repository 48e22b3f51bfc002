"""Public holidays as a known input: the dates of a country, from the package `holidays`, and how many a step has."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self

import numpy as np
import polars as pl

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.frequency import MICROSECONDS, Frequency
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.features.calendar import to_local_times
from fusecast.io.documents import take

PREFIX = "holiday:"
YEARS_AHEAD = 10
"""Years after the last training row whose holidays are kept with the model; those of later years are looked up."""
CARDINALITY = 3
"""Categories of steps of at most a day: unknown, a working day, a holiday."""


@dataclass(frozen=True, kw_only=True)
class HolidayCalendar:
    """The public holidays of a country, or of a part of it, in a span of years."""

    country: str  # "DE", or "DE-BY" for a part of it
    first_year: int
    last_year: int
    dates: tuple[str, ...]  # ISO

    @property
    def column(self) -> str:
        """Name of the input of the network."""
        return PREFIX + self.country

    def count(self, first: IntArray, end: IntArray) -> FloatArray:
        """Return the number of holidays from one day to before another, in days since 1970; NaN where it is unknown."""
        if not len(first):
            return np.empty(0)
        years = np.array([first.min(), (end - 1).max()]).astype("M8[D]").astype("M8[Y]").astype(np.int64) + 1970
        whole = self
        if years[0] < self.first_year or years[1] > self.last_year:
            whole = find_holidays(self.country, min(years[0], self.first_year), max(years[1], self.last_year))
        holidays = np.sort(np.array(list({*self.dates, *whole.dates}), dtype="M8[D]").astype(np.int64))
        begin, after = (
            np.datetime64(f"{year:04d}-01-01", "D").astype(np.int64)
            for year in (min(self.first_year, whole.first_year), max(self.last_year, whole.last_year) + 1)
        )
        counts = (np.searchsorted(holidays, end) - np.searchsorted(holidays, first)).astype(np.float64)
        return np.where((first >= begin) & (end <= after), counts, np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self) | {"dates": list(self.dates)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return what :meth:`to_dict` describes; raise a ValueError if it holds something else."""
        dates = tuple(take(values, "dates", list, items=str))
        for text in dates:
            date.fromisoformat(text)
        first, last = (take(values, name, int) for name in ("first_year", "last_year"))
        if not 1 <= first <= last + 1 <= 10_000:
            raise ValueError("the years of the holidays are impossible")
        return cls(country=take(values, "country", str), first_year=first, last_year=last, dates=dates)


def find_holidays(country: str, first_year: int, last_year: int) -> HolidayCalendar:
    """Return the holidays of a country (``DE``) or of a part of it (``DE-BY``), in the years for which they are known.

    Raise a ConfigError if the country is unknown, or the package is not installed, with the line that installs it.
    """
    try:
        import holidays
    except ImportError:
        raise ConfigError.missing_extra("features.country", "holidays", "calendar") from None
    regions = holidays.list_supported_countries()
    code, _, region = country.partition("-")
    if code not in regions:
        from holidays.registry import COUNTRIES  # name -> class, codes

        names = {name: codes[1] for name, codes in COUNTRIES.items()}
        raise ConfigError.unknown_country(country, sorted(set(names.values())), names)
    if region and region not in regions[code]:
        raise ConfigError.unknown("part of a country", country, [f"{code}-{name}" for name in regions[code]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about years without known holidays: those are left out next
        found = holidays.country_holidays(code, subdiv=region or None, years=range(first_year, last_year + 1))
    first = max(first_year, found.start_year)
    return HolidayCalendar(
        country=country,
        first_year=first,
        last_year=max(min(last_year, found.end_year), first - 1),
        dates=tuple(day.isoformat() for day in sorted(found)),
    )


def is_longer_than_a_day(frequency: str) -> bool:
    """Whether a step holds several days: then its holidays are counted."""
    step = Frequency.parse(frequency)
    return bool(step.months) or step.width > MICROSECONDS["d"]


def find_days(panel: Panel, time_zone: str | None) -> tuple[IntArray, IntArray]:
    """Return the first local day of each row's step, and the day after its last, in days since 1970, [N].

    A step of at most a day counts as the day on which it begins. Months that are dated by their last day end with it.
    """
    series, rows = panel.series_of_row, panel.row_in_series

    def days(offset: int) -> IntArray:
        times: pl.Series = to_local_times(panel.times_at(series, rows + offset), time_zone)
        return times.dt.date().to_physical().to_numpy().astype(np.int64)

    at_row = days(0)
    if not is_longer_than_a_day(panel.schema.frequency):
        return at_row, at_row + 1
    return (days(-1) + 1, at_row + 1) if panel.time_grid.month_day == 31 else (at_row, days(1))
