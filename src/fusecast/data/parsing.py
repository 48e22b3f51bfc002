"""Parse the columns of a table: text to numbers, to codes of categories, and to times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray
from fusecast.data.issues import Issues, first_true

MISSING_WORDS = ("", "na", "n/a", "#n/a", "nan", "<na>", "null", "none")
"""What people and programs write into a numeric column where a number is missing."""
FORMATTED_NUMBER = r"^[+-]?[$€£¥]?\s*\d+(?:[.,' \u00a0]\d{3})*(?:[.,]\d+)?\s*[%$€£¥]?$"
"""A number with units and thousands separators."""
MIN_SHARE_OF_NUMBERS = 0.9
"""Share of numbers among the cells of a text column from which a cell that is no number is probably a mistake."""

BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "on", "1"), "true")
BOOLEANS |= dict.fromkeys(("false", "f", "no", "n", "off", "0"), "false")
"""What people and programs write for true and false, in lower case."""
WHOLE_OR_DECIMAL = re.compile(r"([+-]?)0*(\d+)(?:\.(\d*))?")

UNAMBIGUOUS_FORMATS = (  # with `%` directives of chrono, which polars uses
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y%m%d",
    "%Y%m%d%H%M%S",
    "%d.%m.%Y",  # the day comes first wherever dates are written with dots
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%d.%m.%y",
    "%d.%m.%y %H:%M:%S%.f",
    "%d.%m.%y %H:%M",
    "%d %b %y",
    "%d-%b-%y",
    "%b %d, %y",
)
MONTH_FORMATS = ("%Y-%m", "%Y/%m", "%m.%Y", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y", "%b %y", "%b-%y")
"""Formats of months, which are their first days."""
QUARTER = r"^(?:(?P<year>\d{4})[ -]?[Qq](?P<quarter>[1-4])|[Qq](?P<quarter2>[1-4])[ /-]?(?P<year2>\d{4}))$"
WEEK = r"^(\d{4})-?[Ww](\d{2})(?:-?([1-7]))?$"  # of ISO 8601, from Monday
WHOLE = r"^(?:0|-?[1-9]\d*)$"
YEARS = (1800, 2200)
"""The years that a whole number of four digits may be."""
UNIX_SECONDS = (900_000_000, 2_200_000_000)
"""The seconds since 1970 that a whole number may be, from 1998 to 2039."""
TIME_OF_DAY_FORMATS = ("", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
SLASHED_FORMATS = tuple((f"%d{s}%m{s}%Y{time}", f"%m{s}%d{s}%Y{time}") for s in "/-" for time in TIME_OF_DAY_FORMATS)
"""Day first and month first: only the values show which of the two it is."""
SHORT_FORMATS = tuple(
    tuple(form + time for form in (f"%d{s}%m{s}%y", f"%m{s}%d{s}%y", f"%y{s}%m{s}%d"))
    for s in "/-"
    for time in TIME_OF_DAY_FORMATS
)
"""The same with years of two digits, which may also come first."""
EARLIEST_YEAR = 1000
"""An earlier year is one whose century is missing."""
END_OF_SHORT_YEARS = 2050
"""The first year that two digits do not mean; 70 to 99 are those of the last century."""
SHORT_YEAR = r"^(?:\d{1,3}|0\d{3})[-/.]\d{1,2}[-/.]\d{1,3}(?:\D|$)"
OFFSET_PATTERN = r"(?:[T ]\d{1,2}:\d{2}[\d:.]*\s*)(Z|[+-]\d{2}:?\d{2}|[+-]\d{2}|UTC)$"
ZONES_WITH_SUMMER_TIME = (
    "Europe/Berlin", "Europe/London", "Europe/Athens", "America/New_York", "America/Santiago", "Australia/Sydney",
)  # fmt: skip
"""Zones whose clocks change at different hours or days."""
SAMPLE_ROWS = 1000
"""Rows on which formats are tried first."""


def to_numbers(column: pl.Series, issues: Issues, *, flags: bool = False) -> FloatArray:
    """Parse a column as float64 [n], NaN where a value is missing; text, infinities and other types become issues.

    With `flags`, text whose every cell is a spelling of true or false is read as 1 and 0.
    """
    dtype = column.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        parsed = column.str.strip_chars().cast(pl.Float64, strict=False)
        failed = (parsed.is_null() & column.is_not_null() & ~is_missing_word(column)).fill_null(value=False)
        if failed.any() and flags and holds_booleans(column):
            ones = {
                cell: float(to_boolean(cell) == "true") for cell in column.unique().drop_nulls() if to_boolean(cell)
            }
            parsed = column.replace_strict(ones, default=None, return_dtype=pl.Float64)
        elif failed.any():
            issues.not_numbers(column, failed)
        column = parsed
    elif not (dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null):
        issues.unreadable_type(column, "numbers")
        return np.full(len(column), np.nan)
    values = column.cast(pl.Float64).to_numpy()
    if (infinite := np.isinf(values)).any():
        issues.infinite(column.name, infinite)
    return values


def is_missing_word(text: pl.Series) -> pl.Series:
    """Return whether each cell of a text column is a word for a missing number."""
    return text.str.strip_chars().str.to_lowercase().is_in(MISSING_WORDS)


def find_odd_cell(column: pl.Series) -> tuple[str, int] | None:
    """Return the first cell that is no plain number in a text column of numbers, with its row; None without one.

    None also where most cells are words: such a column is text on purpose.
    """
    if column.dtype != pl.String:
        return None
    text = column.str.strip_chars()
    present = (text.is_not_null() & ~is_missing_word(text)).fill_null(value=False)
    plain = text.cast(pl.Float64, strict=False).is_not_null() & text.str.contains(r"\d")
    odd = (present & ~plain).fill_null(value=False)
    if not odd.any():
        return None
    numbers = (plain | text.str.contains(FORMATTED_NUMBER)) & present
    if int(numbers.sum()) < MIN_SHARE_OF_NUMBERS * int(present.sum()):
        return None
    row = first_true(odd)
    return str(column[row]), row


def to_text(column: pl.Series, issues: Issues) -> pl.Series:
    """Convert a column to the text of its categories, null where a value is missing.

    Whole numbers have the same text whatever their type, so that a column that is int in one table and float
    (because of a missing value) in another has the same categories. The text of a cell depends on no other cell.
    """
    dtype = column.dtype
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
        issues.unreadable_type(column, "names or categories")
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    if dtype.is_float() or dtype.is_decimal():
        column = column.cast(pl.Float64).fill_nan(None) if dtype.is_decimal() else column.fill_nan(None)
        whole = (column == column.round(0)) & (column.abs() < 2**53)
        return column.cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole, column.cast(pl.String))
    text = column if column.dtype == pl.String else column.cast(pl.String)
    return text.set(text == "", None)


def to_number(text: str) -> str | None:
    """Return a number in its shortest spelling, 3 for 03 and 3.0; None for other text, exponents among it."""
    match = WHOLE_OR_DECIMAL.fullmatch(text.strip())
    if match is None:
        return None
    fraction = (match[3] or "").rstrip("0")
    number = f"{match[2]}.{fraction}" if fraction else match[2]
    return f"-{number}" if match[1] == "-" and number != "0" else number


def to_boolean(text: str) -> str | None:
    """Return `true` or `false` for a spelling of it; None for other text."""
    return BOOLEANS.get(to_number(text) or text.strip().lower())


def holds_booleans(column: pl.Series) -> bool:
    """Return whether a column is boolean, or text whose every cell is a spelling of true or false and some a word."""
    if column.dtype != pl.String:
        return bool(column.dtype == pl.Boolean)
    cells = column.filter(~is_missing_word(column)).unique().to_list()
    return all(map(to_boolean, cells)) and not all(map(to_number, cells))


def holds_numbers(column: pl.Series) -> bool:
    """Return whether a column is text whose every cell is a plain number."""
    if column.dtype != pl.String:
        return False
    cells = column.filter(~is_missing_word(column))
    for some in (cells.head(SAMPLE_ROWS), cells):
        numbers = some.str.strip_chars().cast(pl.Float64, strict=False)
        if some.is_empty() or numbers.null_count() or not some.str.contains(r"\d").all():
            return False
    return True


def holds_padded_numbers(column: pl.Series) -> bool:
    """Return whether a column is text whose every cell is a whole number, and some begin with a zero, as codes do."""
    return (
        holds_numbers(column)
        and bool(column.drop_nulls().str.contains(r"^\s*0\d+\s*$").any())
        and not column.drop_nulls().str.contains(".", literal=True).any()
    )


def is_flag(values: FloatArray) -> bool:
    """Return whether numbers are 0 and 1 alone, where they are not missing."""
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def match_levels(
    levels: Iterable[str],
    known: Sequence[str],
    readers: Sequence[Callable[[str], str | None]] = (to_boolean, to_number),
) -> dict[str, str]:
    """Return for each level the known one that it is another spelling of; itself where it is of none.

    Where every level is a spelling of true or false, and of each at most one known level, `1`, `yes` and `True` are the
    same. Where all known levels are numbers, `3`, `03` and `3.0` are, unless two known ones are the same number. Of
    both rules those of `readers` count.
    """
    matched = {level: level for level in levels}
    new = [level for level in matched.keys() - set(known) if level.strip().lower() not in MISSING_WORDS]
    for read in readers:
        spelled = {read(level): level for level in known}
        fits = None not in spelled and len(spelled) == len(known)
        if fits and (read is to_number or all(map(to_boolean, new))):
            return matched | {level: spelled.get(read(level), level) for level in new}
    return matched


def encode_categories(text: pl.Series) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return the codes of a text column [n], -1 where a value is missing, and its sorted levels."""
    levels = text.drop_nulls().unique().sort()
    return encode_levels(text, levels), tuple(levels)


def encode_levels(text: pl.Series, levels: pl.Series) -> NDArray[np.int32]:
    """Return the codes [n] of a text column in `levels`, -1 where a value is missing."""
    codes = text.cast(pl.Enum(levels)).to_physical()
    return codes.cast(pl.Int32).fill_null(-1).to_numpy()


def read_times(
    column: pl.Series,
    zone: str | None,
    issues: Issues,
    *,
    counted: bool | None = None,
    ids: pl.DataFrame | None = None,
) -> pl.Series | None:
    """Convert a time column to Date, Datetime or integers; return None, with an issue, where that is impossible.

    Text is parsed by the one format that fits all its values; the order of day and month is never guessed. A naive
    column is read as wall time of `zone` where one is named; a zoned column is converted to it. Whole numbers that
    are all dates, 20170131 or 201701, become dates unless time is `counted` in steps (None: unknown); years, 2017,
    where it is surely not, or they are text. Two rows of a series, which `ids` tell apart, at a time that the zone
    repeats are told apart by their order.
    """
    dtype = column.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.dtype == pl.String and counted and (steps := to_whole_numbers(column)) is not None:
        column = steps
    elif column.dtype == pl.String:
        parsed = parse_time_text(column, zone, issues)
        if parsed is None:
            return None
        column = parsed
    elif dtype.is_float() and bool((column.fill_nan(None) == column.fill_nan(None).round(0)).all()):
        column = column.fill_nan(None).cast(pl.Int64)
    elif not (dtype.is_integer() or dtype == pl.Date or isinstance(dtype, pl.Datetime)):
        issues.unreadable_type(column, "times or whole steps")
        return None
    if column.dtype.is_integer() and not counted:
        column = parse_numeric_dates(column, years=counted is False)
        if column.dtype.is_integer() and are_weeks(column):
            issues.numbered_weeks(column)
            return None
    if column.dtype.is_temporal() and (column.bottom_k(1).dt.year() < EARLIEST_YEAR).any():
        issues.unreadable_time(column.cast(pl.String), int(column.arg_min() or 0), "a year without its century")
        return None
    if zone is None or not isinstance(column.dtype, pl.Datetime):
        return column
    if column.dtype.time_zone is not None:
        return column.dt.convert_time_zone(zone)
    local = column.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    if local.null_count() > column.null_count():
        repeats = choose_repeats(column, ids)
        local = column.dt.replace_time_zone(zone, ambiguous=repeats, non_existent="null")
    lost = local.is_null() & column.is_not_null()
    if lost.any():
        issues.nonexistent_times(column.name, zone, lost)
        return None
    return local


def choose_repeats(times: pl.Series, ids: pl.DataFrame | None) -> pl.Series:
    """Return for each wall time whether it is the earlier or the later of two, should its zone repeat it.

    The first row of a pair is the earlier one, or the later in a series whose rows go back in time; single rows are
    neither (`null`).
    """
    columns = [] if ids is None else ids.get_columns()
    rows = pl.DataFrame([times.alias("time"), *(column.alias(f"id {i}") for i, column in enumerate(columns))])
    rows = rows.with_columns(pl.lit(0).alias("id"))
    keys = rows.columns[1:]
    is_second = pl.int_range(pl.len()).over(*keys, "time") == 1
    goes_back = (pl.col("time").drop_nulls().last() < pl.col("time").drop_nulls().first()).over(*keys)
    which = pl.when(is_second != goes_back).then(pl.lit("latest")).otherwise(pl.lit("earliest"))
    return rows.select(pl.when(pl.len().over(*keys, "time") == 2).then(which).otherwise(pl.lit("null"))).to_series()


def find_clock_change(times: pl.Series) -> str | None:
    """Return a zone in which daylight saving time ends at all of these wall times; None where there is no such zone."""
    if not isinstance(times.dtype, pl.Datetime) or times.dtype.time_zone is not None:
        return None
    for zone in ZONES_WITH_SUMMER_TIME:
        if times.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").is_null().all():
            return zone
    return None


def to_whole_numbers(text: pl.Series) -> pl.Series | None:
    """Return the whole numbers in a text column; None where a cell is something else, or has zeros before it."""
    cells = text.str.strip_chars()
    if not cells.head(SAMPLE_ROWS).str.contains(WHOLE).all() or not cells.str.contains(WHOLE).all():
        return None
    numbers = cells.cast(pl.Int64, strict=False)
    return numbers if numbers.null_count() == cells.null_count() < len(cells) else None


def are_years(numbers: pl.Series) -> bool:
    """Return whether a column holds whole numbers that may all be years, and more than one of them."""
    low, high = (numbers.min(), numbers.max()) if numbers.dtype.is_integer() else (None, None)
    return isinstance(low, int) and isinstance(high, int) and YEARS[0] <= low < high <= YEARS[1]


def find_unix_unit(numbers: pl.Series) -> str | None:
    """Return the unit in which whole numbers may be times since 1970; None where in none."""
    low, high = (numbers.min(), numbers.max()) if numbers.dtype.is_integer() else (None, None)
    if isinstance(low, int) and isinstance(high, int):
        for factor, unit in ((1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")):
            if UNIX_SECONDS[0] * factor <= low < high <= UNIX_SECONDS[1] * factor:
                return unit
    return None


def are_weeks(numbers: pl.Series) -> bool:
    """Return whether a column holds whole numbers that may all be years and weeks, 201752, of two years at least."""
    low, high = numbers.min(), numbers.max()
    if not (isinstance(low, int) and isinstance(high, int) and 100 * YEARS[0] < low and high < 100 * YEARS[1] + 54):
        return False
    weeks = numbers.drop_nulls() % 100
    return low // 100 < high // 100 and bool(weeks.is_between(1, 53).all()) and bool((weeks > 12).any())


def parse_numeric_dates(column: pl.Series, *, years: bool = False) -> pl.Series:
    """Convert whole numbers to dates if all of them are dates, 20170131 or 201701; else return them unchanged.

    With `years`, 2017 is 1 January of that year.
    """
    low, high = column.min(), column.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return column
    kinds = ((18_000_101, 22_001_231, ""), (180_001, 220_012, "01"), (*YEARS, "0101"))
    for smallest, largest, day in kinds if years else kinds[:2]:
        if smallest <= low and high <= largest:
            dates = (column.cast(pl.String) + day).str.to_date("%Y%m%d", strict=False)
            return dates if dates.null_count() == column.null_count() else column
    return column


def parse_time_text(column: pl.Series, zone: str | None, issues: Issues) -> pl.Series | None:
    """Parse timestamps written as text; return None, with an issue, where that is impossible."""
    text = column.str.strip_chars()
    text = text.set(text == "", None)
    present = text.drop_nulls()
    if present.is_empty():
        return text.cast(pl.Datetime("us"))
    if present.str.contains(OFFSET_PATTERN).any():
        return parse_zoned_text(text, zone, issues)
    sample = present.head(SAMPLE_ROWS)
    for form in (*UNAMBIGUOUS_FORMATS, *MONTH_FORMATS):
        if parse_format(sample, form).null_count() == 0:
            parsed = parse_format(text, form)
            if parsed.null_count() == text.null_count():
                return parsed
    if (periods := parse_periods(text)) is not None:
        return periods
    for forms in (*SLASHED_FORMATS, *SHORT_FORMATS):
        fits = {
            form: parsed
            for form in forms
            if not parse_format(sample, form).null_count()
            and (parsed := parse_format(text, form)).null_count() == text.null_count()
        }
        readings = choose_slashed(fits)
        for other in readings[1:]:
            if (differs := (readings[0] != other).fill_null(value=False)).any():
                issues.ambiguous_dates(text, first_true(differs))
                return None
        if readings:
            return readings[0]
    formats = (*UNAMBIGUOUS_FORMATS, *MONTH_FORMATS, *chain.from_iterable((*SLASHED_FORMATS, *SHORT_FORMATS)))
    best = min(formats, key=lambda form: parse_format(sample, form).null_count())
    failed = parse_format(text, best).is_null() & text.is_not_null()
    others_fit = int(failed.sum()) < len(text) - text.null_count()
    reason = "unlike the other rows" if others_fit else "which is in no known time format"
    if text.filter(failed).head(1).str.contains(SHORT_YEAR).any():
        reason = "a year without its century"
    if (numbers := to_whole_numbers(present)) is not None and are_weeks(numbers):
        issues.numbered_weeks(numbers.alias(column.name))
        return None
    issues.unreadable_time(text, first_true(failed), reason)
    return None


def choose_slashed(fits: Mapping[str, pl.Series]) -> list[pl.Series]:
    """Return the readings of dates that are possible, by format; both orders of day and month are, where both fit.

    A year of two digits is first or last: the reading is possible in which the times span less than half as long as in
    the other, and both where they span about the same.
    """
    year_first = [times for form, times in fits.items() if form.startswith("%y")]
    year_last = [times for form, times in fits.items() if not form.startswith("%y")]
    if year_first and year_last:
        first, last = (min(map(measure_span, readings)) for readings in (year_first, year_last))
        return [*(year_last if 2 * first >= last else []), *(year_first if 2 * last >= first else [])]
    return year_first + year_last


def measure_span(times: pl.Series) -> int:
    """Return the distance from the first to the last time, in microseconds."""
    ticks = times.cast(pl.Datetime("us")).to_physical()
    return int(ticks.max()) - int(ticks.min())  # type: ignore[arg-type]


def parse_periods(text: pl.Series) -> pl.Series | None:
    """Return the first days of quarters (2018Q1, Q1 2018), of weeks (2023-W05), or of years (2018) and months (201801).

    None where text is something else.
    """
    if (numbers := to_whole_numbers(text.drop_nulls())) is not None:
        dates = parse_numeric_dates(text.cast(pl.Int64), years=True)
        return None if dates.dtype.is_integer() or numbers.is_empty() else dates
    if text.drop_nulls().str.contains(QUARTER).all():
        parts = text.str.extract_groups(QUARTER).struct.unnest()
        year, quarter = (parts[name].fill_null(parts[f"{name}2"]) for name in ("year", "quarter"))
        first = pl.date(pl.lit(year).cast(pl.Int32), 3 * pl.lit(quarter).cast(pl.Int8) - 2, 1)
        return pl.select(first.alias(text.name)).to_series()
    if text.drop_nulls().str.contains(WEEK).all():
        parts = text.str.extract_groups(WEEK).struct.unnest()
        days = parts["1"] + "-W" + parts["2"] + "-" + parts["3"].fill_null("1")
        parsed = days.alias(text.name).str.to_date("%G-W%V-%u", strict=False)
        return parsed if parsed.null_count() == text.null_count() else None
    return None


def parse_format(text: pl.Series, form: str) -> pl.Series:
    """Parse text by one format, null where it does not fit; a Date where the format has no time of day."""
    if form in MONTH_FORMATS:
        parsed = ("01 " + text).alias(text.name).str.to_date("%d " + form, strict=False)
    elif "%H" in form or "%I" in form:
        parsed = text.str.to_datetime(form, strict=False, time_unit="us")
    else:
        parsed = text.str.to_date(form, strict=False)
    year = parsed.dt.year()
    wrong = year >= END_OF_SHORT_YEARS if "%y" in form else year < EARLIEST_YEAR
    return parsed.set(wrong.fill_null(value=False), None) if wrong.any() else parsed


def parse_zoned_text(text: pl.Series, zone: str | None, issues: Issues) -> pl.Series | None:
    """Parse ISO timestamps that carry an offset. Different offsets need a zone to be converted to."""
    offsets = text.str.extract(OFFSET_PATTERN).replace({"Z": "+00:00", "UTC": "+00:00"})
    unzoned = offsets.is_null() & text.is_not_null()
    first = first_true(text.is_not_null())
    differs = (unzoned != unzoned[first]) & text.is_not_null()
    if not differs.any() and zone is None:
        differs = (offsets != offsets[first]).fill_null(value=False)
    if differs.any():
        issues.mixed_zones(text, first, first_true(differs))
        return None
    iso = text.str.replace(r"\s*(?:Z|UTC)$", "+0000").str.replace(r"^(\S+) +", "${1}T").str.replace(r"\s+", "")
    for form in ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"):
        parsed = iso.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
        failed = parsed.is_null() & text.is_not_null()
        if not failed.any():
            return parsed.dt.convert_time_zone(zone or name_fixed_zone(offsets[first]))
    issues.unreadable_time(text, first_true(failed), "which is no ISO time")
    return None


def name_fixed_zone(offset: str) -> str:
    """Return the name of the zone of an offset of whole hours; UTC where the offset has no name."""
    sign, hours, minutes = offset[0], int(offset[1:3]), offset[3:].lstrip(":")
    if hours == 0 or hours > 12 or minutes.strip("0"):
        return "UTC"
    return f"Etc/GMT{'-' if sign == '+' else '+'}{hours}"  # POSIX counts offsets with the opposite sign
