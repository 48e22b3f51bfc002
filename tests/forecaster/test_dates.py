"""Dates as spreadsheets write and mistake them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.helpers.tables import TINY

from fusecast import DataError, Forecaster, SchemaError
from fusecast.data.inspection import inspect_table
from fusecast.errors import FusecastError

DAYS = pl.date_range(date(2023, 1, 1), date(2023, 4, 30), eager=True)
MONTHS = pl.date_range(date(2015, 1, 1), date(2024, 12, 1), "1mo", eager=True)


def table_of(times: pl.Series | list[str]) -> pl.DataFrame:
    return pl.DataFrame({"ds": times, "y": np.sin(np.arange(len(times))) + 5})


def forecaster(**options: str) -> Forecaster:
    return Forecaster(4, 8, **options, **TINY)


def exchange(day: date | datetime) -> date | datetime:
    """What a program makes of a date that it reads month first where it can."""
    return day.replace(month=day.day, day=day.month) if day.day <= 12 else day


@pytest.mark.parametrize(
    ("form", "times"),
    [
        *(
            (form, DAYS)
            for form in ("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%y-%m-%d", "%d-%m-%y", "%d-%b-%y")
        ),
        *((form, DAYS.cast(pl.Datetime)) for form in ("%d.%m.%y %H:%M", "%m/%d/%y %H:%M:%S", "%y-%m-%d %H:%M")),
        *((form, MONTHS) for form in ("%b-%y", "%b %y")),
    ],
)
def test_years_of_two_digits_are_read(form: str, times: pl.Series, tmp_path: Path) -> None:
    table_of(times.dt.strftime(form)).write_csv(tmp_path / "table.csv")
    panel = forecaster().prepare(tmp_path / "table.csv").panel
    assert panel.times().cast(times.dtype).to_list() == times.to_list()
    assert panel.schema.frequency == ("1mo" if times is MONTHS else "1d")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["01/02/23", "02/02/23", "03/02/23"], "can be read day first or month first: '01/02/23' in row 0"),
        (["22/01/23"], "can be read day first or month first"),
        (["31.01.55", "01.02.55"], r"'31.01.55' in row 0, a year without its century\nHint: write times as 2017-01-31"),
    ],
)
def test_years_of_two_digits_that_may_be_others_are_refused(cells: list[str], message: str) -> None:
    table = table_of(cells)
    with pytest.raises(DataError, match=message):
        forecaster(frequency="1d").prepare(table)


@pytest.mark.parametrize(
    "early",
    [
        pl.date_range(date(23, 1, 1), date(23, 4, 30), eager=True),
        pl.date_range(date(23, 1, 1), date(23, 4, 30), eager=True).cast(pl.Datetime("ms", "UTC")),
        DAYS.dt.strftime("00%y-%m-%d"),
    ],
    ids=["dates", "times", "text"],
)
def test_a_year_without_its_century_is_refused(early: pl.Series) -> None:
    with pytest.raises(DataError, match=r"time column 'ds' holds '0023-01-01.*' in row 0, a year without its century"):
        forecaster().prepare(table_of(early))


@pytest.mark.parametrize("shops", [1, 2])
@pytest.mark.parametrize("last", [date(2023, 4, 30), date(2024, 12, 31)], ids=["with holes", "without holes"])
def test_days_read_as_months_are_refused(shops: int, last: date) -> None:
    days = pl.date_range(date(2023, 1, 1), last, eager=True)
    right = pl.concat([table_of(days).with_columns(unique_id=pl.lit(f"shop {shop}")) for shop in range(shops)])
    wrong = right.with_columns(ds=pl.Series([exchange(day) for day in right["ds"]]))
    message = r"out of order in time column 'ds', the first is row \d+ with 2023-.*day and month are exchanged"
    by_time = wrong.with_columns(right["ds"].alias("of")).sort("of", maintain_order=True).drop("of")
    for table in (wrong, by_time, wrong.to_pandas(), wrong.with_columns(pl.col("ds").cast(pl.Datetime))):
        with pytest.raises(DataError, match=message):
            forecaster().prepare(table)
    with pytest.raises(DataError, match=message):
        forecaster(frequency="1d").prepare(wrong)
    fitted = forecaster().fit(right)
    with pytest.raises(DataError, match=message):
        fitted.predict(data=wrong)
    assert any("exchanged" in warning for warning in inspect_table(wrong).warnings)
    for other in (right.reverse(), right.sample(fraction=1.0, shuffle=True, seed=0)):  # out of order for other reasons
        assert forecaster().prepare(other).panel.num_rows == len(right)
    if last == date(2024, 12, 31):  # whole years have the same dates again, and sorted they are taken for right
        assert forecaster().prepare(wrong.sort("unique_id", "ds")).panel.num_rows == len(right)


def test_a_table_most_of_whose_steps_have_no_row_is_refused() -> None:
    wrong = table_of(pl.Series(sorted(exchange(day) for day in DAYS)))
    message = (
        r"'ds' is read as steps of 1d, and most of them have no row: there are 120 rows for 338 steps, 2023-01-01 to "
        r"2023-12-04 in the longest series\nHint: look for dates whose day and month are exchanged"
    )
    with pytest.raises(SchemaError, match=message):
        forecaster().prepare(wrong)
    assert any("most of them have no row" in warning for warning in inspect_table(wrong).warnings)
    assert forecaster(frequency="1d").prepare(wrong).panel.num_rows >= 330
    assert not any("no row" in warning for warning in inspect_table(wrong, frequency="1d").warnings)


def test_holes_in_the_smaller_part_of_the_steps_are_filled() -> None:
    table = table_of(DAYS).filter(pl.col("ds").dt.day() <= 18)
    assert forecaster().prepare(table).panel.num_rows == (date(2023, 4, 18) - DAYS[0]).days + 1


def test_no_dates_of_text_leave_a_traceback() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        cells = ["/".join(f"{part:02d}" for part in rng.integers(0, 40, 3)) for _ in range(6)]
        try:
            panel = forecaster(frequency="1d").prepare(pd.DataFrame({"ds": cells, "y": 1.0})).panel
            assert panel.times().dt.year().is_between(1970, 2049).all()
        except FusecastError:
            pass
