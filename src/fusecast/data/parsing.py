"""Parse columns of text, numbers and times into numbers, category codes and time stamps."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.issues import Issues

MISSING_WORDS = ("", "na", "n/a", "#n/a", "nan", "<na>", "null", "none")
"""What people and programs write into a numeric column where there is no number."""


def blank(text: pl.Series) -> pl.Series:
    """Tell where a text column says that there is no number."""
    return text.str.strip_chars().str.to_lowercase().is_in(MISSING_WORDS)


WRITTEN_NUMBER = r"^[+-]?[$€£¥]?\s*\d+(?:[.,' \u00a0]\d{3})*(?:[.,]\d+)?\s*[%$€£¥]?$"
"""A number with what people write around and into it: units, thousands separators."""
NEARLY_ALL = 0.9


def odd_among_numbers(column: pl.Series) -> tuple[str, int] | None:
    """Find the first cell of a text column that is no plain number although nearly all are numbers; and its row.

    None where most cells are words, or where all are plain numbers: text by choice, such as the names of stores.
    """
    if column.dtype != pl.String:
        return None
    text = column.str.strip_chars()
    present = (text.is_not_null() & ~blank(text)).fill_null(value=False)
    plain = text.cast(pl.Float64, strict=False).is_not_null() & text.str.contains(r"\d")
    odd = (present & ~plain).fill_null(value=False)
    if not odd.any():
        return None
    written = (plain | text.str.contains(WRITTEN_NUMBER)) & present
    if int(written.sum()) < NEARLY_ALL * int(present.sum()):
        return None
    row = odd.arg_max() or 0
    return str(column[row]), row


def to_numbers(column: pl.Series, problems: Issues) -> NDArray[np.float64]:
    """Read a column as float64 [n], NaN where missing; note text, infinities and foreign types as problems."""
    name, dtype = column.name, column.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        parsed = column.str.strip_chars().cast(pl.Float64, strict=False)
        failed = (parsed.is_null() & column.is_not_null() & ~blank(column)).fill_null(value=False)
        if failed.any():
            row = failed.arg_max() or 0
            problems.not_a_number(name, column[row], row, int(failed.sum()))
        column = parsed
    elif not (dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null):
        problems.unreadable_type(name, dtype, "numbers")
        return np.full(len(column), np.nan)
    values = column.cast(pl.Float64).to_numpy()
    if (infinite := np.isinf(values)).any():
        problems.infinite(name, int(infinite.argmax()), int(infinite.sum()))
    return values


def to_text(column: pl.Series, problems: Issues) -> pl.Series:
    """Read a column as the text of its categories, null where missing.

    Whole numbers are written alike whatever their type, so that a column that is int in one table and float
    (because of a missing value) in another has the same categories. Each cell is written without regard to others.
    """
    dtype = column.dtype
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
        problems.unreadable_type(column.name, dtype, "categories")
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    if dtype.is_float():
        column = column.fill_nan(None)
        whole = (column == column.round(0)) & (column.abs() < 2**53)
        return column.cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole, column.cast(pl.String))
    text = column if column.dtype == pl.String else column.cast(pl.String)
    return text.set(text == "", None)


def to_codes(text: pl.Series) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Number the categories of a text column: codes [n], -1 where missing, and the levels in order."""
    levels = text.drop_nulls().unique().sort()
    return codes_of(text, levels), tuple(levels)


def codes_of(text: pl.Series, levels: pl.Series) -> NDArray[np.int32]:
    """Codes of a text column by given levels, -1 where missing."""
    codes = text.cast(pl.Enum(levels)).to_physical()
    return codes.cast(pl.Int32).fill_null(-1).to_numpy()


# Orders of day and month that cannot be mistaken. `%` directives as in chrono, which polars uses.
PLAIN = (
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
    "%d.%m.%Y",  # dots are day first wherever they are used
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
)
MONTHS = ("%Y-%m", "%Y/%m", "%b %Y", "%B %Y", "%b-%Y")  # the day is added
CLOCKS = ("", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
ZONED = r"(?:[T ]\d{1,2}:\d{2}[\d:.]*\s*)(Z|[+-]\d{2}:?\d{2}|[+-]\d{2}|UTC)$"


def read_times(
    column: pl.Series, zone: str | None, problems: Issues, *, counted: bool | None = None
) -> pl.Series | None:
    """Give a time column as Date, Datetime or integers; None, with a problem noted, where it cannot be read.

    Text is parsed by the one format that fits all its values; days and months are never guessed. A naive column is
    read as wall time of `zone` if one is named, a zoned one is converted to it. Whole numbers that are all dates,
    20170131 or 201701, are read as these, unless time is `counted` in steps; None for what they look like.
    """
    dtype = column.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        parsed = parse_text(column, zone, problems)
        if parsed is None:
            return None
        column = parsed
    elif dtype.is_float():
        whole = column.fill_nan(None)
        if not bool((whole == whole.round(0)).all()):
            problems.unreadable_type(column.name, dtype, "times or whole steps")
            return None
        column = whole.cast(pl.Int64)
        column = column if counted else dates_in_numbers(column)
    elif dtype.is_integer():
        column = column if counted else dates_in_numbers(column)
    elif not (dtype == pl.Date or isinstance(dtype, pl.Datetime)):
        problems.unreadable_type(column.name, dtype, "times or whole steps")
        return None
    return in_zone(column, zone, problems)


def dates_in_numbers(column: pl.Series) -> pl.Series:
    """Read whole numbers as dates where all are such, 20170131 or 201701; else give them as they are."""
    low, high = column.min(), column.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return column
    for form, first, last in (("%Y%m%d", 18_000_101, 22_001_231), ("%Y%m", 180_001, 220_012)):
        if first <= low and high <= last:
            text = column.cast(pl.String) + ("" if "d" in form else "01")
            dates = text.str.to_date("%Y%m%d", strict=False)
            return dates if dates.null_count() == column.null_count() else column
    return column


def in_zone(column: pl.Series, zone: str | None, problems: Issues) -> pl.Series | None:
    """Bring a time column into the zone of the schema."""
    if zone is None or not isinstance(column.dtype, pl.Datetime):
        return column
    if column.dtype.time_zone is not None:
        return column.dt.convert_time_zone(zone)
    local = column.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    lost = local.is_null() & column.is_not_null()
    if lost.any():
        problems.clock_change(column.name, zone, int(lost.arg_max() or 0), int(lost.sum()))
        return None
    return local


def parse_text(column: pl.Series, zone: str | None, problems: Issues) -> pl.Series | None:
    """Parse time stamps written as text; None, with a problem noted, where that cannot be done."""
    text = column.str.strip_chars()
    text = text.set(text == "", None)
    present = text.drop_nulls()
    if present.is_empty():
        return text.cast(pl.Datetime("us"))
    if present.str.contains(ZONED).any():
        return parse_zoned(text, zone, problems)
    sample = present.head(1000)
    for form in (*PLAIN, *MONTHS):
        if parse(sample, form).null_count() == 0 and (parsed := parse(text, form)).null_count() == text.null_count():
            return parsed
    for separator in ("/", "-"):
        for clock in CLOCKS:
            day_first = parse(text, f"%d{separator}%m{separator}%Y{clock}")
            month_first = parse(text, f"%m{separator}%d{separator}%Y{clock}")
            fits = [each for each in (day_first, month_first) if each.null_count() == text.null_count()]
            if len(fits) == 1:
                return fits[0]
            if len(fits) == 2:
                differs = (day_first != month_first).fill_null(value=False)
                if not differs.any():
                    return day_first
                row = int(differs.arg_max() or 0)
                problems.ambiguous_dates(column.name, text[row], row)
                return None
    note_first_failure(column.name, text, sample, problems)
    return None


def parse(text: pl.Series, form: str) -> pl.Series:
    """Parse text by one format, null where it does not fit; a Date where the format has no time of day."""
    if form in MONTHS:
        return ("01 " + text).str.to_date("%d " + form, strict=False)
    if "%H" in form or "%I" in form:
        return text.str.to_datetime(form, strict=False, time_unit="us")
    return text.str.to_date(form, strict=False)


def parse_zoned(text: pl.Series, zone: str | None, problems: Issues) -> pl.Series | None:
    """Parse ISO stamps that carry an offset. Different offsets need a zone to be read in."""
    offsets = text.str.extract(ZONED).replace({"Z": "+00:00", "UTC": "+00:00"})
    unzoned = offsets.is_null() & text.is_not_null()
    first = int(text.is_not_null().arg_max() or 0)
    differs = (unzoned != unzoned[first]) & text.is_not_null()
    if not differs.any() and zone is None:
        differs = (offsets != offsets[first]).fill_null(value=False)
    if differs.any():
        row = int(differs.arg_max() or 0)
        problems.mixed_zones(text.name, text[first], text[row], row)
        return None
    iso = text.str.replace(r"\s*(?:Z|UTC)$", "+0000").str.replace(r"^(\S+) +", "${1}T").str.replace(r"\s+", "")
    for form in ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"):
        parsed = iso.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
        failed = parsed.is_null() & text.is_not_null()
        if not failed.any():
            return parsed.dt.convert_time_zone(zone or fixed_zone(offsets[first]))
    row = int(failed.arg_max() or 0)
    problems.unreadable_time(text.name, text[row], row, "which is no ISO time")
    return None


def fixed_zone(offset: str) -> str:
    """Name the zone of an offset of whole hours; UTC where it is none or has no name."""
    sign, hours, minutes = offset[0], int(offset[1:3]), offset[3:].lstrip(":")
    if hours == 0 or hours > 12 or minutes.strip("0"):
        return "UTC"
    return f"Etc/GMT{'-' if sign == '+' else '+'}{hours}"  # the POSIX sign is the other way round


def note_first_failure(name: str, text: pl.Series, sample: pl.Series, problems: Issues) -> None:
    """Name the first value that does not fit the format which most of the first values have."""
    slashed = tuple(f"%{a}{s}%{b}{s}%Y{c}" for s in "/-" for c in CLOCKS for a, b in ("dm", "md"))
    best = min((*PLAIN, *MONTHS, *slashed), key=lambda form: parse(sample, form).null_count())
    failed = parse(text, best).is_null() & text.is_not_null()
    row = int(failed.arg_max() or 0)
    others = int(failed.sum()) < len(text) - text.null_count()
    why = "unlike the other rows" if others else "which is no time that can be read"
    problems.unreadable_time(name, text[row], row, why)
